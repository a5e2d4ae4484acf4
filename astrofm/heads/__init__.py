"""Heads that turn an embedding into a prediction."""
