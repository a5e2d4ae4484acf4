"""Views: augmentations in physical units, one a file, and the pipeline that applies them."""
