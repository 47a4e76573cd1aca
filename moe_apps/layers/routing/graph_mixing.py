"""Routers in which tokens share their routing distributions with related tokens."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.top_k import TopK
from moe_apps.registry import ROUTERS


class GraphMixing(TopK):
    """Takes the top k of `p'_i = sum_j S_ij p_j`, where S `(time, time)` relates tokens.

    A subclass gives S, without masks, by `neighbours`. Padding and, where `causal`, later
    positions get no share, and each row of S is divided by its sum; a row of zeros becomes that
    of the identity. All axes of the input between the first and the last are one axis of time.

    Args:
        causal: leave later positions out. Default False.
        **kwargs: of `TopK`. The z-loss is 0, because `log p'` takes the place of the logits.
    """

    def __init__(self, causal: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.causal = causal

    def neighbours(self, sequences: Any, inputs: RouterInputs) -> Any:
        """S `(batch, time, time)`, not negative; `sequences` is `(batch, time, features)`."""
        raise NotImplementedError(f"{type(self).__name__} must define `neighbours`.")

    def adjust(self, logits: Any, inputs: RouterInputs) -> Any:
        batch, *positions = inputs.leading
        if not positions:
            raise ValueError(
                f"{type(self).__name__} needs `x` of shape (batch, time, features). "
                f"Received one axis of tokens: {inputs.tokens.shape}"
            )
        time = math.prod(positions)
        probabilities = ops.softmax(logits, axis=-1)
        sequences = ops.reshape(inputs.tokens, (batch, time, inputs.tokens.shape[-1]))
        shares = self._allowed(self.neighbours(sequences, inputs), batch, time, inputs)
        rows = ops.reshape(probabilities, (batch, time, probabilities.shape[-1]))
        mixed = ops.matmul(shares, rows)  # (batch, time, experts)
        mixed = ops.reshape(mixed, (-1, probabilities.shape[-1]))
        return ops.log(ops.maximum(mixed, 1e-30))

    def _allowed(self, shares: Any, batch: Any, time: Any, inputs: RouterInputs) -> Any:
        if inputs.mask is not None:
            real = ops.cast(ops.reshape(inputs.mask, (batch, 1, time)), "float32")
            shares = shares * real
        position = ops.arange(time)
        if self.causal:
            shares = shares * ops.cast(position[:, None] >= position[None, :], "float32")
        total = ops.sum(shares, axis=-1, keepdims=True)
        identity = ops.cast(position[:, None] == position[None, :], "float32")
        return ops.where(total > 0, shares / ops.maximum(total, 1e-30), identity)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "causal": self.causal}


@listed(
    ROUTERS,
    "similarity_aware",
    paper="Nguyen et al. 2025, ICML, arXiv 2505.00792",
    purpose="similar tokens of a sequence share their routing",
    causal=False,
    interpretation=True,
)
class SimilarityAware(GraphMixing):
    """Mixes the routing of tokens by their similarity, `S = softmax(X W X^T / temperature)`.

    `p'_i = sum_j S_ij softmax(x_j V)_j`, then the top k of p' with p' for weights. Equal tokens
    get equal routing. Mixing steadies the assignment; it does not in general lower the entropy
    of a row, which for a mean of distributions usually rises.

    Source: Nguyen et al. 2025, "Improving Routing in Sparse Mixture of Experts with Graph of
    Tokens", arXiv 2505.00792. Interpretation: only the abstract was at hand; S, the mixing of
    probabilities and not of logits, and W starting as the identity are ours.

    Args:
        temperature: of the similarity, > 0, the initial value of the setting "temperature"; None
            takes the square root of the number of features.
        causal: leave later positions out, for decoders. Default False.
        **kwargs: of `TopK`. The z-loss is 0, because `log p'` takes the place of the logits.

    Padding has no share in any token's routing.

    Example:
        >>> decision = SimilarityAware(k=2, num_experts=4)(keras.random.normal((3, 5, 8)))
        >>> tuple(decision.indices.shape)
        (15, 2)
    """

    def __init__(self, temperature: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if temperature is not None and temperature <= 0:
            raise ValueError(f"`temperature` must be greater than 0. Received: {temperature}")
        self.temperature = temperature

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        features = input_shape[-1]
        self.metric = self.add_weight(
            name="metric",
            shape=(features, features),
            initializer=keras.initializers.Identity(),
        )
        self.add_setting("temperature", self.temperature or math.sqrt(features))

    def neighbours(self, sequences: Any, inputs: RouterInputs) -> Any:
        similarity = ops.matmul(
            ops.matmul(sequences, self.metric), ops.transpose(sequences, (0, 2, 1))
        )
        # Before the softmax, so that no allowed share vanishes beside a masked one.
        time = ops.shape(sequences)[1]
        if inputs.mask is not None:
            real = ops.reshape(inputs.mask, (-1, 1, time))
            similarity = ops.where(real, similarity, -1e9)
        if self.causal:
            position = ops.arange(time)
            earlier = position[:, None] >= position[None, :]
            similarity = ops.where(earlier, similarity, -1e9)
        return ops.softmax(similarity / self.settings["temperature"], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


@listed(
    ROUTERS,
    "attention_aware",
    paper="Nguyen et al. 2025, ICML, arXiv 2505.00792",
    purpose="tokens share their routing along the attention of the layer before",
    causal=False,
    interpretation=True,
)
class AttentionAware(GraphMixing):
    """Mixes the routing of tokens by the attention matrix of the block, given as `context`.

    `p'_i = sum_j A_ij softmax(x_j V)_j`, with A the mean over the heads, then the top k of p'
    with p' for weights. The identity for A gives `TopK`.

    Source: Nguyen et al. 2025, "Improving Routing in Sparse Mixture of Experts with Graph of
    Tokens", arXiv 2505.00792. Interpretation: only the abstract was at hand; the mean over heads
    and the mixing of probabilities and not of logits are ours.

    Args:
        causal: leave later positions out, whatever A says of them. Default False.
        **kwargs: of `TopK`. The z-loss is 0, because `log p'` takes the place of the logits.

    Call arguments:
        context: attention `(batch, time, time)` or `(batch, heads, time, time)`, not negative.

    Padding has no share in any token's routing.

    Example:
        >>> attention = ops.ones((3, 5, 5)) / 5
        >>> router = AttentionAware(k=2, num_experts=4)
        >>> tuple(router(keras.random.normal((3, 5, 8)), context=attention).indices.shape)
        (15, 2)
    """

    def neighbours(self, sequences: Any, inputs: RouterInputs) -> Any:
        if inputs.context is None:
            raise ValueError("`AttentionAware` needs the attention matrix as `context`.")
        attention = ops.cast(inputs.context, "float32")
        return ops.mean(attention, axis=1) if len(attention.shape) == 4 else attention
