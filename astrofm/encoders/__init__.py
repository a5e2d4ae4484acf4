"""Encoders (timm, by name) and the target network."""
