"""Lets MLflow answer with a SavedModel.

MLflow keeps a copy of this file with each logged model and loads the model through it, so it
imports nothing of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf


class SavedModel:
    """Answers a dict of arrays by name with one, through the signature `serving_default`."""

    def __init__(self, folder: str) -> None:
        self._model = tf.saved_model.load(folder)  # keeps the variables alive
        self._signature = self._model.signatures["serving_default"]

    def predict(self, model_input: Mapping[str, Any], params: Any = None) -> dict[str, np.ndarray]:
        """Answer arrays of the signature's inputs by name; lists and numbers will do too."""
        specs = self._signature.structured_input_signature[1]
        inputs = {name: tf.constant(model_input[name], spec.dtype) for name, spec in specs.items()}
        return {name: value.numpy() for name, value in self._signature(**inputs).items()}


def _load_pyfunc(data_path: str) -> SavedModel:
    # The name that MLflow looks for.
    return SavedModel(data_path)
