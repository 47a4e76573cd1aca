"""Routing by ReLU: an expert is active where its score is positive."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.up_to_k import UpToK
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "block_ffn",
    paper="Song et al. 2025, arXiv 2507.08771",
    purpose="as many experts as have a positive score, alike in neighbouring tokens",
)
class BlockFFNRouter(UpToK):
    """Weighs experts by `RMSNorm(ReLU(x W))`, exactly 0 where the score is not positive.

    `a = ReLU(x W)`, `weight = gamma * a / sqrt(mean_e(a_e^2) + 1e-6)`, with gamma `(experts,)`
    learned. A token without a positive score gets nothing from any expert. The weights do not
    change when the token is scaled. The paper's experts are two-layer without gate or bias:
    `FFNExperts(activation="silu", use_bias=False)`.

    Source: Song et al. 2025, "BlockFFN", arXiv 2507.08771, and its released code. There all
    experts are computed in training and the chunk weight is adapted by the training loop; here it
    is the setting "chunk_loss_weight", which `ScheduledSetting` can change.

    Args:
        k_max: most experts of a token, those with the highest scores; None for all.
        chunk: tokens in a chunk of the chunk loss, at least 1. Default 64.
        chunk_loss_weight: factor of `chunk_loss`; 0 leaves it out. Default 0.05.
        locality_loss_weight: factor of `activation_locality_loss`; 0 leaves it out. Default
            0.002.
        **kwargs: of `Router`.

    Padding has weight 0 and enters no loss. Adds the losses "chunk" and "locality" over the last
    axis of positions, in training as all.

    Example:
        >>> decision = BlockFFNRouter(num_experts=4)(ops.ones((3, 5, 8)))
        >>> tuple(decision.weights.shape), sorted(decision.losses)
        ((15, 4), ['chunk', 'locality'])
    """

    def __init__(
        self,
        k_max: int | None = None,
        chunk: int = 64,
        chunk_loss_weight: float = 0.05,
        locality_loss_weight: float = 0.002,
        **kwargs: Any,
    ) -> None:
        super().__init__(k_max=k_max, **kwargs)
        if chunk < 1:
            raise ValueError(f"`chunk` must be at least 1. Received: {chunk}")
        self.chunk = chunk
        self.chunk_loss_weight = chunk_loss_weight
        self.locality_loss_weight = locality_loss_weight

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        experts = self.kernel.shape[1:]
        self.gamma = self.add_weight(name="gamma", shape=experts, initializer="ones")
        if self.chunk_loss_weight:
            self.add_setting("chunk_loss_weight", self.chunk_loss_weight)

    def distribution(self, logits: Any, inputs: RouterInputs) -> Any:
        active = ops.relu(logits)
        return active / (ops.sum(active, axis=-1, keepdims=True) + 1e-5)

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        active = ops.relu(logits)
        scale = ops.rsqrt(ops.mean(ops.square(active), axis=-1, keepdims=True) + 1e-6)
        return ops.take_along_axis(self.gamma * active * scale, indices, axis=-1)

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        losses = super().regularise(logits, decision, inputs)
        if self.chunk_loss_weight:
            losses["chunk"] = self.settings["chunk_loss_weight"] * chunk_loss(
                *_sequences(decision.probabilities, inputs), self.chunk
            )
        if self.locality_loss_weight:
            losses["locality"] = self.locality_loss_weight * activation_locality_loss(
                *_sequences(logits, inputs)
            )
        return losses

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "chunk": self.chunk,
            "chunk_loss_weight": self.chunk_loss_weight,
            "locality_loss_weight": self.locality_loss_weight,
        }


def _sequences(rows: Any, inputs: RouterInputs) -> tuple[Any, Any]:
    """Rows `(sequences, time, experts)` and their mask `(sequences, time)`, 1 for real tokens."""
    time = inputs.leading[-1]
    real = ops.ones_like(rows[:, 0]) if inputs.mask is None else ops.cast(inputs.mask, "float32")
    return ops.reshape(rows, (-1, time, rows.shape[-1])), ops.reshape(real, (-1, time))


def _chunks(rows: Any, chunk: int) -> Any:
    """`(sequences, chunks, chunk, ...)` of `(sequences, time, ...)`, filled up with zeros."""
    batch, time = ops.shape(rows)[:2]
    chunks = (time + chunk - 1) // chunk  # a form that JAX can follow where time is unknown
    rows = ops.pad(rows, ((0, 0), (0, chunks * chunk - time), *((0, 0) for _ in rows.shape[2:])))
    return ops.reshape(rows, (batch, chunks, chunk, *rows.shape[2:]))


def chunk_loss(shares: Any, real: Any, chunk: int) -> Any:
    """Mean share of experts that a chunk of tokens touches, made smooth; in [0, 1].

    `1 - mean over chunks and experts of prod_t (1 - shares_te)`: 0 where nothing is active.

    Args:
        shares: `(sequences, time, experts)`, in [0, 1].
        real: `(sequences, time)`, 1 for real tokens and 0 for padding.
        chunk: tokens in a chunk; a last one may be shorter.

    Example:
        >>> shares = ops.array([[[0.5, 0.0], [0.5, 0.0]]])
        >>> round(float(chunk_loss(shares, ops.ones((1, 2)), 2)), 3)  # (0.75 + 0) / 2
        0.375
    """
    # The small number keeps the gradient of a share of 1 finite.
    untouched = ops.log(ops.minimum(1 - shares + 1e-5, 1.0)) * real[..., None]
    untouched = ops.exp(ops.sum(_chunks(untouched, chunk), axis=2))  # (sequences, chunks, experts)
    counts = ops.cast(ops.max(_chunks(real, chunk), axis=2), "float32")  # (sequences, chunks)
    touched = ops.sum(ops.mean(1 - untouched, axis=-1) * counts)
    return touched / ops.maximum(ops.sum(counts), 1.0)


def activation_locality_loss(logits: Any, real: Any, sharpness: float = 100.0) -> Any:
    """Cross entropy between the smooth activations of neighbouring tokens.

    `BCE(sigmoid(s z_(t-1)), sigmoid(s z_t))`, the mean over experts and over neighbours that are
    both real; the second is the target, and both get gradients.

    Args:
        logits: `(sequences, time, experts)`, before the ReLU.
        real: `(sequences, time)`, 1 for real tokens and 0 for padding.
        sharpness: s.

    Example:
        >>> same = ops.array([[[1.0, -1.0], [1.0, -1.0]]])
        >>> float(activation_locality_loss(same, ops.ones((1, 2)))) < 1e-6
        True
    """
    before, now = sharpness * logits[:, :-1], sharpness * logits[:, 1:]
    entropy = ops.mean(ops.softplus(before) - ops.sigmoid(now) * before, axis=-1)
    both = real[:, :-1] * real[:, 1:]
    return ops.sum(entropy * both) / ops.maximum(ops.sum(both), 1.0)


def token_level_sparsity(weights: Any, real: Any = None) -> Any:
    """Share of (token, expert) pairs with weight 0, over real tokens.

    Args:
        weights: `(sequences, time, experts)`, as `MoE` returns them.
        real: `(sequences, time)`, 1 for real tokens and 0 for padding; None for all.

    Example:
        >>> float(token_level_sparsity(ops.array([[[1.0, 0.0], [0.0, 0.0]]])))
        0.75
    """
    return chunk_level_sparsity(weights, 1, real)


def chunk_level_sparsity(weights: Any, n: int, real: Any = None) -> Any:
    """Share of experts that none of n tokens in a row touches, at most the token-level one.

    Args:
        weights: `(sequences, time, experts)`, as `MoE` returns them.
        n: tokens in a chunk; a last one may be shorter, and counts by its tokens.
        real: `(sequences, time)`, 1 for real tokens and 0 for padding; None for all.

    Example:
        >>> float(chunk_level_sparsity(ops.array([[[1.0, 0.0], [0.0, 0.0]]]), 2))
        0.5
    """
    real = ops.ones_like(weights[..., 0]) if real is None else ops.cast(real, "float32")
    touched = ops.cast(ops.not_equal(weights, 0), "float32") * real[..., None]
    untouched = 1 - ops.max(_chunks(touched, n), axis=2)  # (sequences, chunks, experts)
    counts = ops.sum(_chunks(real, n), axis=2)  # (sequences, chunks)
    return ops.sum(ops.mean(untouched, axis=-1) * counts) / ops.maximum(ops.sum(counts), 1.0)
