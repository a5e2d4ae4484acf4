"""How archives come here: over HTTP, resumed and checked, and unpacked."""
