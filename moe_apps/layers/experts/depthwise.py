"""A feed-forward layer that also looks at neighbouring positions."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "depthwise_conv_ffn",
    paper="Ortigossa et al. 2026, MoHETS, arXiv 2601.21866",
    purpose="shared expert of a sequence, mixes neighbouring tokens",
    causal=False,
)
class DepthwiseConvFFN(keras.layers.Layer):
    """Depthwise convolution along time, then a two-layer network, then a sigmoid gate.

    `y = sigmoid(x g) * activation(conv(x) W1) W2`, without biases. As the `shared` expert of
    `MoE` it sees the sequence, while routed experts see single tokens.

    Source: Ortigossa et al. 2026, "MoHETS", arXiv 2601.21866.

    Args:
        hidden_dim: width of the hidden layer.
        kernel_size: positions that the convolution spans. Default 3.
        activation: of the hidden layer. Default "gelu".
        causal: look at this position and earlier ones only. Default False: the window is
            centred, so the layer is of no use in an autoregressive model.
        gated: multiply by `sigmoid(x g)`, one number a token. Default True.
        dropout: rate on the hidden layer, in training. Default 0.
        seed: seed of the dropout.
        kernel_initializer: of all matrices.

    Call arguments:
        x: `(batch, time, features)`.
        mask: boolean `(batch, time)`; padding is 0 to the convolution, as beyond the ends.

    Example:
        >>> tuple(DepthwiseConvFFN(hidden_dim=16)(keras.random.normal((2, 5, 8))).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        hidden_dim: int,
        kernel_size: int = 3,
        activation: Any = "gelu",
        causal: bool = False,
        gated: bool = True,
        dropout: float = 0.0,
        seed: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kernel_size < 1:
            raise ValueError(f"`kernel_size` must be at least 1. Received: {kernel_size}")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout}")
        self.supports_masking = True
        self.hidden_dim = hidden_dim
        self.kernel_size = kernel_size
        self.activation = keras.activations.get(activation)
        self.causal = causal
        self.gated = gated
        self.dropout = dropout
        self.seed = seed
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        if dropout:
            self.drop = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]

        def weight(name: str, *shape: int) -> Any:
            initializer = self.kernel_initializer.clone()
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.depthwise = weight("depthwise", self.kernel_size, features, 1)
        self.up = weight("up", features, self.hidden_dim)
        self.down = weight("down", self.hidden_dim, features)
        self.gate = weight("gate", features, 1) if self.gated else None
        self.built = True

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        known = x if mask is None else ops.where(ops.cast(mask, "bool")[..., None], x, 0)
        before = self.kernel_size - 1 if self.causal else (self.kernel_size - 1) // 2
        padded = ops.pad(known, ((0, 0), (before, self.kernel_size - 1 - before), (0, 0)))
        mixed = ops.depthwise_conv(padded, self.depthwise, padding="valid")
        hidden = self.activation(ops.matmul(mixed, self.up))
        if self.dropout:
            hidden = self.drop(hidden, training=training)
        outputs = ops.matmul(hidden, self.down)
        if self.gate is not None:
            outputs = outputs * ops.sigmoid(ops.matmul(x, self.gate))
        return outputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
            "causal": self.causal,
            "gated": self.gated,
            "dropout": self.dropout,
            "seed": self.seed,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
