"""Every expert on every token: the reference."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.dispatch.dispatcher import Dispatcher


@keras.saving.register_keras_serializable(package="moe_apps")
class Dense(Dispatcher):
    """Computes all experts for all tokens and weighs them; the cost grows with their number.

    The reference in tests, and reasonable for two or three experts. Never drops.
    """

    def __call__(
        self, tokens: Any, indices: Any, weights: Any, experts: Any, training: bool | None
    ) -> tuple[Any, Any]:
        outputs = experts(tokens[None])  # (experts, tokens, features_out)
        chosen = ops.one_hot(indices, experts.num_experts, dtype="float32")
        mixture = ops.sum(chosen * weights[..., None], axis=1)  # (tokens, experts)
        return ops.einsum("ne,eno->no", ops.cast(mixture, outputs.dtype), outputs), 0.0
