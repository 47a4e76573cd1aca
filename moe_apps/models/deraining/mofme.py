"""MoFME: experts that only modulate one shared representation, for several kinds of weather."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from moe_apps.models.deraining.expert_path import ExpertPath, Kind
from moe_apps.models.deraining.patch_tokens import (
    ResidualConvolutions,
    TokenAttention,
    TokensToPixels,
)
from moe_apps.models.deraining.presets import MOFME_PRESETS

PATCH = 8


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class MoFMEBackbone(keras.Model):
    """A transformer over patches of 8 x 8 pixels between convolutions, with experts in each layer.

    Convolutions on the image (scaled to [-1, 1]), an 8 x 8 convolution of stride 8 to tokens,
    layers of attention and `ExpertPath`, back to pixels, and convolutions to the image. As in the
    released code there are no positions. With `residual` the last convolution starts at 0, so that
    training starts from the image as it is.

    Source: Zhang et al. 2023, "Efficient Deweather Mixture-of-Experts with Uncertainty-Aware
    Feature-Wise Linear Modulation", arXiv 2312.16610, and its released code. Ours: `residual`;
    the router (see `UncertaintyAware`: the released one draws nothing at random); parts of the
    released code that nothing uses are left out (a table of positions, a normalisation in each
    expert).

    Args:
        head_channels: channels before the tokens.
        token_dim: features of a token, D.
        num_layers: transformer layers. Default 2.
        num_heads, head_dim: of the attention.
        tail_channels: channels behind the tokens: of the first and of the second convolutions.
        experts: "modulation" (MoFME), "ffn" (ordinary mixture) or "dense" (no experts).
        num_experts, k, router, modulation, balance_loss_weight: of `ExpertPath`.
        residual: add the output to the image; False makes the image anew, through a sigmoid, as
            the source does.
        dropout: rate in attention and experts, in training. Default 0.1.

    Inputs: dict of `image` `(batch, height, width, 3)` in [0, 1], sizes multiples of 8.

    Outputs: dict of `restored` (as `image`) and, with experts, `routing`
    `(batch, height / 8, width / 8, num_layers, num_experts)` and, with the uncertainty-aware
    router, `uncertainty` `(batch, height / 8, width / 8)`, the mean over the layers.

    Example:
        >>> model = MoFMEBackbone.from_preset("tiny", num_experts=4)
        >>> outputs = model({"image": ops.zeros((1, 16, 24, 3))})
        >>> tuple(outputs["routing"].shape), tuple(outputs["uncertainty"].shape)
        ((1, 2, 3, 2, 4), (1, 2, 3))
    """

    multiple_of = PATCH
    """Height and width of an image must be multiples of this."""

    def __init__(
        self,
        head_channels: int = 32,
        token_dim: int = 384,
        num_layers: int = 2,
        num_heads: int = 8,
        head_dim: int = 64,
        tail_channels: Sequence[int] = (128, 64),
        experts: Kind = "modulation",
        num_experts: int = 8,
        k: int = 2,
        router: str = "uncertainty_aware",
        modulation: Literal["linear", "vector"] = "linear",
        balance_loss_weight: float = 0.0,
        residual: bool = True,
        dropout: float = 0.1,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        first, second = tail_channels

        # === Layers ===
        def convolution(channels: int, name: str, **settings: Any) -> keras.layers.Layer:
            settings = {"kernel_size": 3, "padding": "same", **settings}
            return keras.layers.Conv2D(channels, dtype=dtype, name=name, **settings)

        def convolutions(name: str) -> keras.layers.Layer:
            return ResidualConvolutions(dtype=dtype, name=name)

        def norm(name: str) -> keras.layers.Layer:
            return keras.layers.LayerNormalization(epsilon=1e-5, dtype=dtype, name=name)

        # === Functional model ===
        image = keras.Input((None, None, 3), name="image", dtype="float32")
        x = convolution(head_channels, "head")(2.0 * image - 1.0)
        for number in range(2):
            x = convolutions(f"head_{number}")(x)
        patches = convolution(token_dim, "patches", kernel_size=PATCH, strides=PATCH)(x)
        grid = norm("patch_norm")(patches)
        tokens = keras.layers.Reshape((-1, token_dim), name="tokens")(grid)
        weights, uncertainties = [], []
        for number in range(num_layers):
            attention = TokenAttention(
                num_heads, head_dim, dropout, dtype=dtype, name=f"attention_{number}"
            )
            tokens = tokens + attention(norm(f"attention_norm_{number}")(tokens))
            path = ExpertPath(
                experts,
                num_experts,
                k,
                router,
                modulation,
                balance_loss_weight,
                dropout,
                dtype=dtype,
                name=f"experts_{number}",
            )
            mixed, routing = path(tokens)
            tokens = tokens + mixed
            if "weights" in routing:
                weights.append(routing["weights"])
            if "uncertainty" in routing:
                uncertainties.append(routing["uncertainty"])
        like = AsGrid(dtype=dtype, name="grid")
        x = TokensToPixels(PATCH, first, dtype=dtype, name="pixels")(like(tokens, grid))
        x = convolution(second, "tail")(convolutions("tail_0")(x))
        first_output = {"kernel_initializer": "zeros"} if residual else {}
        x = convolution(3, "output", **first_output)(convolutions("tail_1")(x))
        x = ops.cast(x, "float32")
        outputs = {"restored": image + x if residual else ops.sigmoid(x)}
        if weights:
            stacked = ops.stack(weights, axis=-2)  # (batch, tokens, layers, experts)
            outputs["routing"] = AsGrid(dtype="float32", name="routing_grid")(stacked, grid)
        if uncertainties:
            mean = sum(uncertainties) / num_layers
            outputs["uncertainty"] = AsGrid(dtype="float32", name="uncertainty_grid")(mean, grid)
        super().__init__({"image": image}, outputs, **kwargs)

        # === Config ===
        self.head_channels = head_channels
        self.token_dim = token_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.tail_channels = (first, second)
        self.experts = experts
        self.num_experts = num_experts
        self.k = k
        self.router = router
        self.modulation = modulation
        self.balance_loss_weight = balance_loss_weight
        self.residual = residual
        self.dropout = dropout
        self.layer_dtype = dtype

    @classmethod
    def from_preset(cls, preset: str, **settings: Any) -> MoFMEBackbone:
        """A model of a named size with fresh weights.

        Args:
            preset: tiny, small, or full (the released code's).
            **settings: they override the preset's.
        """
        if preset not in MOFME_PRESETS:
            raise ValueError(f"unknown preset {preset!r}: known are {', '.join(MOFME_PRESETS)}")
        return cls(**{**MOFME_PRESETS[preset], **settings})

    def tile_inputs(self, routing: Any) -> dict[str, Any]:
        """What the model gets beside a tile: nothing, as its routing is local."""
        return {}

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "head_channels": self.head_channels,
            "token_dim": self.token_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "tail_channels": self.tail_channels,
            "experts": self.experts,
            "num_experts": self.num_experts,
            "k": self.k,
            "router": self.router,
            "modulation": self.modulation,
            "balance_loss_weight": self.balance_loss_weight,
            "residual": self.residual,
            "dropout": self.dropout,
            "dtype": self.layer_dtype,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MoFMEBackbone:
        return cls(**config)


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class AsGrid(keras.layers.Layer):
    """Lays tokens `(batch, tokens, ...)` out as `grid` `(batch, rows, columns, features)` is."""

    def call(self, tokens: Any, grid: Any) -> Any:
        return ops.reshape(tokens, (*ops.shape(grid)[:3], *tokens.shape[2:]))

    def compute_output_shape(self, tokens_shape: Any, grid_shape: Any) -> Any:
        return (*grid_shape[:3], *tokens_shape[2:])
