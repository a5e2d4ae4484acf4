"""Objectives: a loss with its networks, one a file."""
