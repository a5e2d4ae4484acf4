"""Retrieval: embed a store and search it by similarity."""
