"""DRSformer: a U-shaped transformer over channels with a mixture of experts at either end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.models.deraining.feature_compensator import FeatureCompensator
from moe_apps.models.deraining.presets import DRSFORMER_PRESETS
from moe_apps.models.deraining.resampling import DepthToSpace, SpaceToDepth
from moe_apps.models.deraining.sparse_transformer_block import SparseTransformerBlock

HEADS = (1, 2, 4, 8)


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class DRSformerBackbone(keras.Model):
    """Predicts what has to be added to a rainy image.

    A 3 x 3 convolution embeds the image in `width` channels; then a feature compensator (a
    mixture of eight operations, weighed for each image), three encoder levels, a bottleneck and
    three decoder levels of `SparseTransformerBlock`, a second compensator, and a 3 x 3
    convolution to three channels, added to the image. Going down halves height and width and
    doubles the channels; decoder levels see the encoder's features, and the last one keeps
    `2 width` channels. No convolution has a bias. The last one starts at 0 (ours), so that
    training starts from the image as it is.

    Source: Chen et al. 2023, "Learning A Sparse Transformer Network for Effective Image
    Deraining" (DRSformer), CVPR, arXiv 2303.11950. Options that the source lacks: `k`, `spatial`,
    `balance_loss_weight` and `gated` (see `FeatureCompensator`), `cross_scale` and `multiple`
    (see `MixedScaleFeedForward`).

    Args:
        width: channels of the first level.
        blocks: blocks of levels 1 to 3 (encoder and decoder) and of the bottleneck.
        compensator: have the two compensators; the source drops them for simple rain.
        steps: steps of a compensator. Default 4.
        k, spatial, balance_loss_weight, gated: of `FeatureCompensator`.
        expansion, cross_scale, multiple: of `MixedScaleFeedForward`.

    Inputs: dict of `image` `(batch, height, width, 3)` in [0, 1], height and width multiples of 8;
    and `front`, `rear`: None, or weights `(batch, steps, 8)` of a whole image for the compensators
    of its tiles.

    Outputs: dict of `restored` (as `image`, not clipped) and, with compensators, `routing`
    `(batch, 2 steps, 8)`, the front compensator's weights and then the rear's; with `spatial`
    `(batch, height / 8, width / 8, 2 steps, 8)`.

    Example:
        >>> model = DRSformerBackbone.from_preset("tiny")
        >>> image = ops.zeros((1, 16, 24, 3))
        >>> outputs = model({"image": image, "front": None, "rear": None})
        >>> tuple(outputs["restored"].shape), tuple(outputs["routing"].shape)
        ((1, 16, 24, 3), (1, 8, 8))
    """

    multiple_of = 8
    """Height and width of an image must be multiples of this."""

    def __init__(
        self,
        width: int = 48,
        blocks: Sequence[int] = (4, 6, 6, 8),
        compensator: bool = True,
        steps: int = 4,
        k: int | None = None,
        spatial: bool = False,
        balance_loss_weight: float = 0.0,
        gated: bool = True,
        expansion: float = 2.66,
        cross_scale: bool = False,
        multiple: int = 1,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if len(blocks) != 4 or min(blocks) < 1:
            raise ValueError(f"`blocks` must be four numbers, at least 1. Received: {blocks}")

        # === Layers ===
        def convolution(channels: int, name: str, size: int = 3, **more: Any) -> Any:
            return keras.layers.Conv2D(
                channels, size, padding="same", use_bias=False, dtype=dtype, name=name, **more
            )

        def level(x: Any, number: int, name: str) -> Any:
            for block in range(blocks[number]):
                x = SparseTransformerBlock(
                    HEADS[number],
                    expansion,
                    cross_scale,
                    multiple,
                    dtype=dtype,
                    name=f"{name}_block_{block}",
                )(x)
            return x

        def down(x: Any, name: str) -> Any:
            return SpaceToDepth(name=f"{name}_pixels", dtype=dtype)(
                convolution(x.shape[-1] // 2, name)(x)
            )

        def up(x: Any, name: str) -> Any:
            return DepthToSpace(name=f"{name}_pixels", dtype=dtype)(
                convolution(2 * x.shape[-1], name)(x)
            )

        def compensate(x: Any, weights: Any, name: str) -> Any:
            if not compensator:
                return x
            layer = FeatureCompensator(
                k, spatial, balance_loss_weight, gated, steps=steps, dtype=dtype, name=name
            )
            layer.build(tuple(x.shape))
            x, routing = layer(x, weights=weights, return_routing=True)
            routings.append(routing["weights"])
            return x

        # === Functional model ===
        routings: list[Any] = []
        image = keras.Input((None, None, 3), name="image", dtype="float32")
        front, rear = (
            keras.Input((steps, 8), name=name, dtype="float32", optional=True)
            for name in ("front", "rear")
        )
        x = compensate(convolution(width, "embedding")(image), front, "front_compensator")
        skips = []
        for number in range(3):
            x = level(x, number, f"encoder_{number + 1}")
            skips.append(x)
            x = down(x, f"down_{number + 1}")
        x = level(x, 3, "bottleneck")
        for number in (2, 1, 0):
            x = ops.concatenate([up(x, f"up_{number + 1}"), skips[number]], axis=-1)
            if number:
                x = convolution(width * 2**number, f"reduce_{number + 1}", size=1)(x)
            x = level(x, number, f"decoder_{number + 1}")
        x = compensate(x, rear, "rear_compensator")
        residual = convolution(3, "output", kernel_initializer="zeros")(x)
        outputs = {"restored": image + ops.cast(residual, "float32")}
        if compensator:
            outputs["routing"] = ops.concatenate(routings, axis=-2)
        super().__init__({"image": image, "front": front, "rear": rear}, outputs, **kwargs)

        # === Config ===
        self.width = width
        self.blocks = tuple(blocks)
        self.compensator = compensator
        self.steps = steps
        self.k = k
        self.spatial = spatial
        self.balance_loss_weight = balance_loss_weight
        self.gated = gated
        self.expansion = expansion
        self.cross_scale = cross_scale
        self.multiple = multiple
        self.layer_dtype = dtype

    @classmethod
    def from_preset(cls, preset: str, **settings: Any) -> DRSformerBackbone:
        """A model of a named size with fresh weights.

        Args:
            preset: tiny, mini, small, medium, large, or full (the paper's).
            **settings: they override the preset's.
        """
        if preset not in DRSFORMER_PRESETS:
            known = ", ".join(DRSFORMER_PRESETS)
            raise ValueError(f"unknown preset {preset!r}: known are {known}")
        return cls(**{**DRSFORMER_PRESETS[preset], **settings})

    def tile_inputs(self, routing: Any) -> dict[str, Any]:
        """What the model gets beside a tile, from the `routing` of the whole image.

        Weights by position are as local as the tiles: nothing is handed on then.
        """
        if routing is None or self.spatial or not self.compensator:
            return {"front": None, "rear": None}
        return {"front": routing[:, : self.steps], "rear": routing[:, self.steps :]}

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "width": self.width,
            "blocks": self.blocks,
            "compensator": self.compensator,
            "steps": self.steps,
            "k": self.k,
            "spatial": self.spatial,
            "balance_loss_weight": self.balance_loss_weight,
            "gated": self.gated,
            "expansion": self.expansion,
            "cross_scale": self.cross_scale,
            "multiple": self.multiple,
            "dtype": self.layer_dtype,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DRSformerBackbone:
        return cls(**config)
