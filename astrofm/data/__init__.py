"""Catalogues, cutouts and stores: everything between an archive and a batch."""
