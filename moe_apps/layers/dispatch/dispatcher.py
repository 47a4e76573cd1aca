"""The dispatch contract: run the chosen experts on the tokens and combine their outputs."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.experts.expert_bank import ExpertBank


class Dispatcher:
    """How pairs of token and expert are brought together.

    All dispatchers give the same result to float tolerance when none drops a pair. A pair with
    weight 0 is inactive: it takes no slot.
    """

    def __call__(
        self, tokens: Any, indices: Any, weights: Any, experts: ExpertBank, training: bool | None
    ) -> tuple[Any, Any]:
        """Combine the experts' outputs.

        Args:
            tokens: `(tokens, features)`.
            indices: `(tokens, k)` int32.
            weights: `(tokens, k)`, 0 for inactive pairs.
            experts: the bank.
            training: whether this is a training step.

        Returns:
            Outputs `(tokens, features_out)` and the share of active pairs that were dropped.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Dispatcher:
        return cls(**config)


def active_expert_of_pair(indices: Any, weights: Any, num_experts: int) -> Any:
    """Expert of each pair `(k * tokens,)`, all first choices first; `num_experts` if inactive."""
    expert = ops.where(ops.not_equal(weights, 0), indices, num_experts)
    return ops.reshape(ops.transpose(ops.cast(expert, "int32")), (-1,))


def weighted_sum(outputs: Any, weights: Any) -> Any:
    """Sum over choices of `(k, tokens, features)` times `(tokens, k)`."""
    weights = ops.cast(ops.transpose(weights), outputs.dtype)
    return ops.sum(outputs * weights[:, :, None], axis=0)


def get_dispatcher(identifier: str | Dispatcher | dict[str, Any]) -> Dispatcher:
    """The dispatcher of a name ("dense", "capacity", "dropless"), a config, or itself."""
    from moe_apps.layers.dispatch import Capacity, Dense, Dropless

    if isinstance(identifier, Dispatcher):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    known = {"dense": Dense, "capacity": Capacity, "dropless": Dropless}
    if identifier not in known:
        raise ValueError(f"`dispatch` must be one of {sorted(known)}. Received: {identifier!r}")
    return known[identifier]()
