"""What stands in place of routed experts in the dense twin, and beside them in RCMoE."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.serialization import revive, serialize_part


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class SingleExpert(keras.layers.Layer):
    """An expert bank with one expert as a layer, `(batch, features)` to `(batch, classes)`.

    Args:
        bank: the bank.

    Example:
        >>> from moe_apps.layers import MLPExperts
        >>> layer = SingleExpert(MLPExperts(1, (3,), output_activation=None))
        >>> tuple(layer(ops.ones((2, 5))).shape)
        (2, 3)
    """

    def __init__(self, bank: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bank = revive(bank)

    def build(self, input_shape: Any) -> None:
        if not self.bank.built:
            self.bank.build((1, *input_shape))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.bank(x[None])[0]  # Keras hands `training` on to a bank that asks for it

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bank": serialize_part(self.bank)}


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class DenseHead(keras.layers.Layer):
    """One expert for all, with the answer of a mixture: logits, and a routing of one expert.

    Args:
        expert: a `SingleExpert`.
        shared: another one that is added, or None.

    Example:
        >>> from moe_apps.layers import MLPExperts
        >>> head = DenseHead(SingleExpert(MLPExperts(1, (3,), output_activation=None)))
        >>> logits, routing = head(ops.ones((2, 5)))
        >>> tuple(logits.shape), tuple(routing["weights"].shape)
        ((2, 3), (2, 1))
    """

    def __init__(self, expert: Any, shared: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.expert, self.shared = revive(expert), revive(shared)

    def build(self, input_shape: Any) -> None:
        for part in (self.expert, self.shared):
            if part is not None and not part.built:
                part.build(input_shape)
        self.built = True

    def call(
        self, x: Any, return_routing: bool = True, training: bool | None = None
    ) -> tuple[Any, dict[str, Any]]:
        logits = self.expert(x, training=training)
        if self.shared is not None:
            logits = logits + self.shared(x, training=training)
        certain = ops.ones_like(x[:, :1])
        return logits, {"weights": certain, "probabilities": certain}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "expert": serialize_part(self.expert),
            "shared": serialize_part(self.shared),
        }
