"""The signature behind TensorFlow Serving's classify call: serialized tf.Example in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from moe_apps.pipelines.domain import Classification, Served

# The names that TensorFlow Serving looks for.
INPUTS, CLASSES, SCORES = "inputs", "classes", "scores"
_STORED_AS = {tf.string: tf.string, tf.float32: tf.float32, tf.float64: tf.float32}


def classify_signature(served: Served, about: Classification) -> Callable[..., Any]:
    """Return a function of serialized `tf.Example`s that gives `classes` and `scores`.

    An example has one feature for each input of `about.signature`, flattened: bytes for strings,
    floats for floats, int64 for whole numbers and booleans.

    Raises:
        ValueError: an input has no batch axis or an axis of unknown size, or the number of labels
            is not that of the scores.
    """
    function = served.signatures[about.signature]
    specs = function.input_signature  # type: ignore[attr-defined]
    features = {spec.name: _feature(spec) for spec in specs}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, INPUTS)], autograph=False)
    def classify(inputs: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(inputs, features)
        arguments = {
            spec.name: tf.cast(parsed[spec.name], spec.dtype)
            if spec.dtype != tf.string
            else parsed[spec.name]
            for spec in specs
        }
        scores = tf.cast(function(**arguments)[about.scores], tf.float32)
        if scores.shape[1:] != (len(about.labels),):
            raise ValueError(f"{len(about.labels)} labels for scores of shape {scores.shape}")
        labels = tf.constant(about.labels)[None]
        return {CLASSES: tf.tile(labels, (tf.shape(scores)[0], 1)), SCORES: scores}

    return classify


def _feature(spec: tf.TensorSpec) -> tf.io.FixedLenFeature:
    shape = spec.shape.as_list()
    if not shape or shape[0] is not None or None in shape[1:]:
        raise ValueError(f"input {spec.name!r} of shape {shape} does not fit a tf.Example")
    return tf.io.FixedLenFeature(shape[1:], _STORED_AS.get(spec.dtype, tf.int64))
