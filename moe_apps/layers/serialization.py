"""Layers inside layers, in configs and saved models."""

from __future__ import annotations

from typing import Any

import keras


def revive(part: Any) -> Any:
    """The layer of a serialised part, or the part itself."""
    return keras.saving.deserialize_keras_object(part) if isinstance(part, dict) else part


def serialize_part(part: Any) -> Any:
    """The config of a part, or None for None; in a saved model, sharing of the part is kept.

    While a model is saved, Keras gives an object that it meets for the second time a mark by
    which loading finds the first. It sets that mark on configs which a layer around has copied
    by then, so the mark would be lost: serialised twice here, the part has it at once. In
    `clone_model` and `from_config` Keras keeps no such marks, and each layer gets a copy.

    Args:
        part: a layer, or None.
    """
    if part is None:
        return None
    keras.saving.serialize_keras_object(part)
    return keras.saving.serialize_keras_object(part)
