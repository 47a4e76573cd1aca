"""Layers around a frozen layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.serialization import revive, serialize_part


class FrozenBase(keras.layers.Layer):
    """A layer around `base`, whose weights stay non-trainable whatever becomes of the others.

    Setting `trainable` on a layer, or on the model around it, reaches all layers inside; this
    class freezes again what `freeze` names.
    """

    base: keras.layers.Layer

    def freeze(self) -> None:
        """Make what must not be trained non-trainable: the base here."""
        self.base.trainable = False

    @property
    def trainable(self) -> bool:
        return super().trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)
        self.freeze()


class AdaptedDense(FrozenBase):
    """A frozen `Dense` layer plus what a subclass adds before its activation.

    `y = activation(x W + b + update(x))`.

    Args:
        base: the `keras.layers.Dense` to adapt. Its weights become non-trainable.
    """

    def __init__(self, base: keras.layers.Dense | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        base = revive(base)
        if not isinstance(base, keras.layers.Dense):
            raise ValueError(f"`base` must be a `keras.layers.Dense`. Received: {base}")
        self.base = base
        self.freeze()

    def build(self, input_shape: Any) -> None:
        if not self.base.built:
            self.base.build(input_shape)
        self.build_update(input_shape[-1], self.base.units)
        self.built = True

    def build_update(self, features: int, units: int) -> None:
        """Create the weights of `update`."""
        raise NotImplementedError(f"{type(self).__name__} must define `build_update`.")

    def update(self, x: Any, mask: Any, training: bool | None) -> Any:
        """What is added to `x W + b`, `(..., units)`."""
        raise NotImplementedError(f"{type(self).__name__} must define `update`.")

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        outputs = ops.matmul(x, self.base.kernel) + self.update(x, mask, training)
        if self.base.use_bias:
            outputs = outputs + self.base.bias
        return self.base.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "base": serialize_part(self.base)}
