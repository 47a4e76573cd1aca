"""The task around a backbone: an image in, the restored image out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class Restorer(keras.Model):
    """Restores images by a backbone, trains on pairs, and tells what its experts did.

    Args:
        backbone: a `DRSformerBackbone`, `MoFMEBackbone` or `UNetBackbone` (or its config).

    Inputs of a call: `(batch, height, width, 3)` in [0, 1], sizes multiples of `multiple_of`.
    Outputs: the restored images, float32, not clipped.

    Example:
        >>> from moe_apps.models.deraining import DRSformerBackbone
        >>> model = Restorer(DRSformerBackbone.from_preset("tiny"))
        >>> tuple(model.restore(ops.zeros((1, 16, 24, 3))).shape)
        (1, 16, 24, 3)
    """

    def __init__(self, backbone: keras.Model | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone: Any = (
            keras.saving.deserialize_keras_object(backbone)
            if isinstance(backbone, dict)
            else backbone
        )
        self.autocast = False  # images stay float32 under mixed precision; the backbone casts
        self.multiple_of = self.backbone.multiple_of
        self.built = True

    def call(self, image: Any, training: bool | None = None) -> Any:
        return self._run(image, None, training)["restored"]

    def restore(self, image: Any, routing: Any = None) -> Any:
        """Restored images, clipped to [0, 1].

        Args:
            image: `(batch, height, width, 3)` in [0, 1].
            routing: weights that `explain` gave for whole images, used for these tiles of them,
                in models whose experts are weighed by whole images; None: those of `image`.
        """
        return ops.clip(self._run(image, routing, False)["restored"], 0.0, 1.0)

    def explain(self, image: Any, routing: Any = None) -> dict[str, Any]:
        """As `restore`, with what the experts did.

        Returns:
            dict of `restored` and, where the backbone has experts, `routing`
            `(batch[, rows, columns], layers, experts)` and perhaps `uncertainty`
            `(batch, rows, columns)`.
        """
        outputs = self._run(image, routing, False)
        return {**outputs, "restored": ops.clip(outputs["restored"], 0.0, 1.0)}

    def _run(self, image: Any, routing: Any, training: bool | None) -> dict[str, Any]:
        inputs = {"image": ops.cast(image, "float32"), **self.backbone.tile_inputs(routing)}
        outputs = self.backbone(inputs, training=training)
        return {name: ops.cast(value, "float32") for name, value in outputs.items()}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
        }
