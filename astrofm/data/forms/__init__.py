"""The forms in which an archive that needs no code may lie on disk, one reader and one mock each."""
