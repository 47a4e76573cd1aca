"""Trained runs as models that answer elsewhere: SavedModel export and the model registry."""
