"""A quarter of a million experts, each put together from two of a few hundred parts."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops
from scipy.stats import norm

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.losses import masked_mean
from moe_apps.registry import LAYERS


@keras.saving.register_keras_serializable(package="moe_apps")
class MonetRouter(keras.layers.Layer):
    """Gates over the two lists of parts, sparse by a threshold that needs no sorting.

    `z = x W` for each list and head; with `z'` the scores normalised over tokens and parts, the
    parts with `z' >= min(max z', Phi^-1(1 - k / n))` are on, about k of n if the scores are
    normal and one at least, and `g = softmax(z)` over them. Training takes the mean and
    variance of the batch and updates running ones; inference takes the running ones, so that
    a token's gates depend on nothing else. All arithmetic is float32.

    Source: Park et al. 2024, "Monet", arXiv 2412.04139.

    Args:
        num_parts: n, the parts of a list. Default 512.
        heads: Default 8.
        k: parts on per head and list, on average. Default 32.
        momentum: of the running mean and variance. Default 0.9.
        kernel_initializer: of W.

    Call arguments:
        x: `(..., features)`.
        mask: boolean `(...)`; padding enters no mean or variance.

    Returns:
        Gates `(..., 2, heads, num_parts)` float32; each sums to 1 over the parts.

    Example:
        >>> gates = MonetRouter(num_parts=8, heads=2, k=2)(keras.random.normal((3, 6)))
        >>> tuple(gates.shape)
        (3, 2, 2, 8)
    """

    def __init__(
        self,
        num_parts: int = 512,
        heads: int = 8,
        k: int = 32,
        momentum: float = 0.9,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if not 1 <= k < num_parts:
            raise ValueError(f"`k` must be in [1, num_parts). Received: k={k}")
        if heads < 1:
            raise ValueError(f"`heads` must be at least 1. Received: {heads}")
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1). Received: {momentum}")
        self.supports_masking = True
        self.num_parts = num_parts
        self.heads = heads
        self.k = k
        self.momentum = momentum
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Any) -> None:
        shape = (2, self.heads, 1)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], 2 * self.heads * self.num_parts),
            initializer=self.kernel_initializer,
        )
        self.mean = self.add_weight(name="mean", shape=shape, initializer="zeros", trainable=False)
        self.variance = self.add_weight(
            name="variance", shape=shape, initializer="ones", trainable=False
        )
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        scores = ops.reshape(ops.matmul(x, self.kernel), (-1, 2, self.heads, self.num_parts))
        if training:
            mask = None if mask is None else ops.reshape(mask, (-1,))
            mean, variance = self._moments(scores, mask)
        else:
            mean, variance = self.mean, self.variance
        normal = (scores - mean) / ops.sqrt(variance + 1e-5)
        threshold = ops.minimum(
            ops.max(normal, axis=-1, keepdims=True), float(norm.isf(self.k / self.num_parts))
        )
        gates = ops.softmax(ops.where(normal >= threshold, scores, -1e30), axis=-1)
        return ops.reshape(gates, (*ops.shape(x)[:-1], 2, self.heads, self.num_parts))

    def _moments(self, scores: Any, mask: Any) -> tuple[Any, Any]:
        """Mean and variance `(2, heads, 1)` of the batch; the running ones follow them."""
        scores = ops.stop_gradient(scores)  # a threshold is all that they serve for
        mean = masked_mean(ops.mean(scores, axis=-1, keepdims=True), mask)
        spread = ops.mean(ops.square(scores - mean), axis=-1, keepdims=True)
        variance = masked_mean(spread, mask)
        for running, now in ((self.mean, mean), (self.variance, variance)):
            running.assign(self.momentum * running + (1 - self.momentum) * now)
        return mean, variance

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], 2, self.heads, self.num_parts)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype", None)  # always float32
        return {
            **config,
            "num_parts": self.num_parts,
            "heads": self.heads,
            "k": self.k,
            "momentum": self.momentum,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@listed(
    LAYERS,
    "monet",
    paper="Park et al. 2024, arXiv 2412.04139",
    purpose="n^2 experts from 2 n parts, for studying which expert knows what",
)
class Monet(keras.layers.Layer):
    """All `n^2` experts `(i, j)` weighed by `sum_h g1_hi g2_hj`, at the cost of `2 n` parts.

    Horizontal: part i is the first layer of an expert and part j the second, so
    `E_ij(x) = relu(x U_i + a_i)^2 V_j + b_j`. Vertical: part i is the first half of the hidden
    units and of the output features of an expert, part j the second half. Both sums over
    pairs are factored, and never formed.

    Source: Park et al. 2024, "Monet: Mixture of Monosemantic Experts for Transformers", arXiv
    2412.04139. Its two losses for training are not part of this layer.

    Args:
        num_parts: n, the parts of a list. Default 512.
        hidden_dim: hidden units of an expert. Default 8.
        heads, k, momentum: see `MonetRouter`. Default 8, 32, 0.9.
        decomposition: "horizontal" or "vertical".
        routed: has a router of its own; False: `gates` are given at every call. The source has
            a router in every fourth layer, whose gates the three above it use as well.
        kernel_initializer: of the matrices.

    Call arguments:
        x: `(..., features)`.
        gates: `(..., 2, heads, num_parts)` to use in place of the router's.
        mask: boolean `(...)`, true for real tokens. Padding enters no running statistic.
        return_gates: also return the gates, for the next layers.

    Example:
        >>> layer = Monet(num_parts=8, hidden_dim=4, heads=2, k=2)
        >>> tuple(layer(keras.random.normal((2, 5, 6))).shape)
        (2, 5, 6)
    """

    def __init__(
        self,
        num_parts: int = 512,
        hidden_dim: int = 8,
        heads: int = 8,
        k: int = 32,
        momentum: float = 0.9,
        decomposition: Literal["horizontal", "vertical"] = "horizontal",
        routed: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if decomposition not in ("horizontal", "vertical"):
            raise ValueError(
                f'`decomposition` must be "horizontal" or "vertical". Received: {decomposition!r}'
            )
        if hidden_dim < 1 or (decomposition == "vertical" and hidden_dim % 2):
            raise ValueError(
                f"`hidden_dim` must be at least 1, and even if vertical. Received: {hidden_dim}"
            )
        self.supports_masking = True
        self.num_parts = num_parts
        self.hidden_dim = hidden_dim
        self.heads = heads
        self.k = k
        self.momentum = momentum
        self.decomposition = decomposition
        self.routed = routed
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        if routed:
            self.router = MonetRouter(num_parts, heads, k, momentum, name="router")

    def build(self, input_shape: Any) -> None:
        features, n = input_shape[-1], self.num_parts
        vertical = self.decomposition == "vertical"
        if vertical and features % 2:
            raise ValueError(f"Vertical decomposition needs even features. Received: {features}")

        def weight(name: str, *shape: int, initializer: Any = None) -> Any:
            initializer = initializer or self.kernel_initializer.clone()
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        width = n * self.hidden_dim
        halves: tuple[tuple[str, int], ...]
        if vertical:
            halves = (("first", features // 2), ("second", features // 2))
            self.up = [weight(f"up_{name}", features, width // 2) for name, _ in halves]
            self.up_bias = [
                weight(f"up_bias_{name}", width // 2, initializer="zeros") for name, _ in halves
            ]
        else:
            halves = (("all", features),)
            self.up = [weight("up", features, width)]
            self.up_bias = [weight("up_bias", width, initializer="zeros")]
        self.down = [weight(f"down_{name}", width, outputs) for name, outputs in halves]
        self.down_bias = [
            weight(f"down_bias_{name}", n, outputs, initializer="zeros") for name, outputs in halves
        ]
        if self.routed and not self.router.built:
            self.router.build(input_shape)
        self.built = True

    def call(
        self,
        x: Any,
        gates: Any = None,
        mask: Any = None,
        return_gates: bool = False,
        training: bool | None = None,
    ) -> Any:
        if gates is None:
            if not self.routed:
                raise ValueError("A layer with `routed=False` needs `gates` at every call.")
            gates = self.router(x, mask=mask, training=training)
        tokens = ops.reshape(x, (-1, x.shape[-1]))
        flat = ops.reshape(ops.cast(gates, x.dtype), (-1, 2, self.heads, self.num_parts))
        first, second = flat[:, 0], flat[:, 1]  # (tokens, heads, parts) each
        run = self._vertical if self.decomposition == "vertical" else self._horizontal
        outputs = ops.reshape(run(tokens, first, second), ops.shape(x))
        return (outputs, gates) if return_gates else outputs

    def _horizontal(self, tokens: Any, first: Any, second: Any) -> Any:
        per_head = self._per_head(first, self._hidden(tokens, 0))
        return self._down(ops.einsum("nhj,nhm->njm", second, per_head), second, 0)

    def _vertical(self, tokens: Any, first: Any, second: Any) -> Any:
        hidden = [self._hidden(tokens, side) for side in (0, 1)]
        halves = []
        for side, own, other in ((0, first, second), (1, second, first)):
            mine = hidden[side] * ops.sum(own, axis=1)[..., None]  # (tokens, parts, hidden / 2)
            others = self._per_head(other, hidden[1 - side])
            theirs = ops.einsum("nhi,nhm->nim", own, others)
            pair = [mine, theirs] if side == 0 else [theirs, mine]
            halves.append(self._down(ops.concatenate(pair, axis=-1), own, side))
        return ops.concatenate(halves, axis=-1)

    def _hidden(self, tokens: Any, side: int) -> Any:
        """`relu(x U + a)^2` of all parts of a list, `(tokens, parts, units)`."""
        hidden = ops.relu(ops.matmul(tokens, self.up[side]) + self.up_bias[side])
        return ops.reshape(
            ops.square(hidden), (-1, self.num_parts, hidden.shape[-1] // self.num_parts)
        )

    def _per_head(self, gates: Any, hidden: Any) -> Any:
        return ops.einsum("nhi,nim->nhm", gates, hidden)

    def _down(self, mixed: Any, gates: Any, side: int) -> Any:
        """What parts make of their hidden units `(tokens, parts, units)`, and their biases."""
        flat = ops.reshape(mixed, (-1, self.num_parts * self.hidden_dim))
        biases = ops.matmul(ops.sum(gates, axis=1), self.down_bias[side])
        return ops.matmul(flat, self.down[side]) + biases

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_parts": self.num_parts,
            "hidden_dim": self.hidden_dim,
            "heads": self.heads,
            "k": self.k,
            "momentum": self.momentum,
            "decomposition": self.decomposition,
            "routed": self.routed,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
