"""What an ingest may change about cutouts: beam, grid, unit, precision."""
