"""What a kernel machine sees, as a layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from sklearn.metrics.pairwise import rbf_kernel

RIDGE = 1e-3
"""Added to the kernel's eigenvalues, against directions that examples do not fill."""


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class KernelFeatures(keras.layers.Layer):
    """Features whose products are a Gaussian kernel, from examples of the training part.

    `k(x, examples) U (S + 0.001)^(-1/2)`, with `U S U'` the kernel matrix of the examples and
    `k(x, y) = exp(-|x - y|^2 / n)`, n the number of inputs (`gamma="scale"` of scikit-learn for
    standardised inputs). A linear layer on them is a kernel machine: on a few hundred examples it
    learns what support vectors learn, where a network all of whose layers learn does not. Scaled
    to a mean square near 1. Before `adapt` is called, all features are 0.

    Source: Williams & Seeger 2001, "Using the Nystrom Method to Speed Up Kernel Machines", NeurIPS.

    Args:
        units: number of examples that are kept, and of features.

    Call arguments:
        x: `(batch, n)`.

    Returns:
        `(batch, units)` float32.

    Example:
        >>> layer = KernelFeatures(2)
        >>> layer.adapt(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))
        >>> tuple(layer(ops.ones((5, 2))).shape)
        (5, 2)
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Any) -> None:
        fixed = {"initializer": "zeros", "trainable": False, "dtype": "float32"}
        self.examples = self.add_weight(
            shape=(self.units, input_shape[-1]), name="examples", **fixed
        )
        self.whitening = self.add_weight(shape=(self.units, self.units), name="whitening", **fixed)
        self.built = True

    def adapt(self, x: np.ndarray, seed: int = 0) -> None:
        """Keep `units` of the rows of `x` `[rows, n]`, again from the first where they are few."""
        if not self.built:
            self.build(x.shape)
        rows = np.random.default_rng(seed).permutation(len(x))
        chosen = np.asarray(x, np.float64)[np.sort(np.resize(rows, self.units))]
        values, vectors = np.linalg.eigh(rbf_kernel(chosen))
        scale = np.sqrt(self.units / (np.maximum(values, 0) + RIDGE))
        self.examples.assign(chosen)
        self.whitening.assign(vectors * scale)

    def call(self, x: Any) -> Any:
        x = ops.cast(x, "float32")
        squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
        own = ops.sum(ops.square(self.examples), axis=-1)
        distance = squares + own - 2 * ops.matmul(x, ops.transpose(self.examples))
        return ops.matmul(ops.exp(-distance / x.shape[-1]), self.whitening)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
