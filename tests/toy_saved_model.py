"""A SavedModel with a signature for whatever a server has to deal with, made in no time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [0.5, -0.25]], np.float32)
LABELS = ["low", "middle", "high"]


def spec(name: str, shape: Any, dtype: Any = tf.float32) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name)


class Toy(tf.Module):
    """Answers x by factor * x; the factor tells one version from another."""

    def __init__(self, factor: float = 2.0, vocabulary: Path | None = None) -> None:
        super().__init__()
        self.factor = tf.Variable(factor, dtype=tf.float32)
        # Large enough that a truncated file of variables is noticed in it.
        self.weights = tf.Variable(tf.random.stateless_normal((64, 64), (1, 2)))
        if vocabulary is not None:
            self.table = tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(
                    str(vocabulary),
                    tf.string,
                    tf.lookup.TextFileIndex.WHOLE_LINE,
                    tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                -1,
            )

    @tf.function(input_signature=[spec("x", (None, 2))])
    def default(self, x: Any) -> dict[str, Any]:
        kept = 0.0 * tf.reduce_sum(self.weights)
        return {"y": self.factor * x + kept, "total": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[spec("x", (None, 2)), spec("times", (), tf.int32)])
    def scaled(self, x: Any, times: Any) -> dict[str, Any]:
        return {"y": x * tf.cast(times, tf.float32)}

    @tf.function(input_signature=[spec("x", (None, 2))])
    def positive(self, x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_greater(x, 0.0, "x must be positive")]):
            return {"y": tf.sqrt(x)}

    @tf.function(input_signature=[spec("x", (None, 2))])
    def joint(self, x: Any) -> dict[str, Any]:
        return {"mean": tf.reduce_mean(x), "x": x}

    @tf.function(input_signature=[spec("image_bytes", (None,), tf.string)])
    def echo(self, image_bytes: Any) -> dict[str, Any]:
        return {"same_bytes": image_bytes, "length": tf.strings.length(image_bytes)}

    @tf.function(input_signature=[spec("word", (None,), tf.string), spec("n", (None,), tf.int64)])
    def words(self, word: Any, n: Any) -> dict[str, Any]:
        return {"id": self.table.lookup(word) * n, "upper": tf.strings.upper(word)}

    @tf.function(input_signature=[spec("steps", (None,), tf.int32)])
    def slow(self, steps: Any) -> dict[str, Any]:
        work = tf.ones((300, 300))
        for _ in tf.range(tf.reduce_max(steps)):
            work = tf.tanh(work @ work)
        return {"y": steps + tf.cast(0.0 * work[0, 0], tf.int32)}

    @tf.function(input_signature=[spec("inputs", (None,), tf.string)])
    def classify(self, inputs: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([2], tf.float32)})
        score = tf.reduce_sum(parsed["x"], axis=1, keepdims=True)
        scores = tf.nn.softmax(score * tf.constant([[-1.0, 0.0, 1.0]]))
        return {"classes": tf.tile([LABELS], (tf.shape(inputs)[0], 1)), "scores": scores}

    @tf.function(input_signature=[spec("inputs", (None,), tf.string)])
    def regress(self, inputs: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([2], tf.float32)})
        return {"outputs": tf.reduce_sum(parsed["x"], axis=1)}

    def signatures(self) -> Mapping[str, Any]:
        return {
            "serving_default": self.default,
            "scaled": self.scaled,
            "positive": self.positive,
            "joint": self.joint,
            "echo": self.echo,
            "words": self.words,
            "slow": self.slow,
            "classify": self.classify,
            "regress": self.regress,
        }


def save_toy(folder: Path, factor: float = 2.0) -> Path:
    """Write it as a version, with a vocabulary as an asset."""
    vocabulary = folder.parent.parent / "words.txt"
    vocabulary.parent.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text("zero\none\ntwo\n")
    toy = Toy(factor, vocabulary)
    # Beside the place, since a server may be watching it.
    temporary = folder.with_name(f"writing-{folder.name}")
    tf.saved_model.save(toy, str(temporary), signatures=dict(toy.signatures()))
    temporary.rename(folder)
    return folder
