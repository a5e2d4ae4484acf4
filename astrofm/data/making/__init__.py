"""How a store is made: planned, read range by range, selected, packed, by one process or many."""
