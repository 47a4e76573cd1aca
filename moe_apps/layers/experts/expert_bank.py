"""The expert bank contract: weights stacked over experts, one batched product for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers.dispatch.extra_groups import ExtraGroups, run_with_extra_groups
from moe_apps.layers.dispatch.permutation import take_groups


@keras.saving.register_keras_serializable(package="moe_apps")
class PerExpert(keras.initializers.Initializer):
    """Initialises each expert's slice of a stacked weight on its own, with its own seed.

    Drawing `(experts, inputs, outputs)` at once would count the expert axis in the fan, and
    calling one seeded initializer once per expert would make all experts equal.

    Args:
        initializer: the initializer of one expert's weight.

    Example:
        >>> values = PerExpert("glorot_uniform")((4, 8, 16))
        >>> tuple(values.shape), bool(ops.any(values[0] != values[1]))
        ((4, 8, 16), True)
    """

    def __init__(self, initializer: Any) -> None:
        self.initializer = keras.initializers.get(initializer)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        config = self.initializer.get_config()
        slices = []
        for expert in range(shape[0]):
            if isinstance(config.get("seed"), int):
                config = {**config, "seed": self.initializer.get_config()["seed"] + expert}
            slices.append(type(self.initializer).from_config(config)(shape[1:], dtype=dtype))
        return ops.stack(slices)

    def get_config(self) -> dict[str, Any]:
        return {"initializer": keras.initializers.serialize(self.initializer)}


class ExpertBank(keras.layers.Layer):
    """Experts of one kind with stacked weights `(experts, ...)`.

    A subclass adds its weights in `build` with `add_stacked_weight` and computes in
    `compute(x, *weights)`, which must work for a single expert and, with a leading group axis
    on `x` and the weights, for many at once (`keras.ops.matmul` does both).

    Args:
        num_experts: number of experts, at least 1.
        kernel_initializer: initializer of one expert's matrices.

    A row is a vector `(features,)`; banks that set `whole_samples` take whole examples
    `(*positions, features)` for rows.

    Call forms, all with the same result per row:
        `(experts, rows, features)`: group g is served by expert g. A group axis of 1 sends the
        same rows to all experts.
        `(groups, rows, features)` with `expert_ids` `(groups,)` int, ascending: group g is
        served by expert `expert_ids[g]`.
        a list of `(rows_e, features)`, one entry an expert.
        `(experts, rows, features)` with `extra`, an `ExtraGroups`: the outputs of both.
    """

    whole_samples = False

    def __init__(
        self, num_experts: int, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_experts < 1:
            raise ValueError(f"`num_experts` must be at least 1. Received: {num_experts}")
        self.num_experts = num_experts
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.stacked_weights: list[Any] = []

    def add_stacked_weight(self, name: str, shape: Sequence[int], initializer: Any) -> Any:
        """Add a weight `(experts, *shape)`; `compute` receives weights in the order added."""
        weight = self.add_weight(
            name=name, shape=(self.num_experts, *shape), initializer=PerExpert(initializer)
        )
        self.stacked_weights.append(weight)
        return weight

    def features_out(self, features: int) -> int:
        """Number of output features for `features` of the input: as many here."""
        return features

    def prepare(self, x: Any) -> Any:
        """What the experts work on, made once for each token before dispatch: `x` itself here.

        `MoE` calls it; who calls a bank directly gives it prepared rows.
        """
        return x

    def compute(self, x: Any, *weights: Any) -> Any:
        """Outputs `(..., rows, features_out)` of the experts whose weights are given."""
        raise NotImplementedError(f"{type(self).__name__} must define `compute`.")

    def expert_weights(self) -> list[Any]:
        """Tensors `(experts, ...)` that `compute` receives: the stacked weights here."""
        # A tensor, not the variable itself: custom gradients may not close over variables.
        return [ops.copy(weight) for weight in self.stacked_weights]

    def computation(self) -> Callable[..., Any]:
        """What runs on `(x, *expert_weights)`: `compute` here.

        A bank whose experts share frozen weights binds them here, as tensors: see
        `expert_weights`. No gradient reaches them.
        """
        return self.compute

    def call(self, x: Any, expert_ids: Any = None, extra: ExtraGroups | None = None) -> Any:
        weights, compute = self.expert_weights(), self.computation()
        if extra is not None:
            return run_with_extra_groups(compute, x, extra, weights)
        if isinstance(x, list | tuple):
            per_expert = zip(*(ops.unstack(weight) for weight in weights), strict=True)
            return [compute(rows, *own) for rows, own in zip(x, per_expert, strict=True)]
        if expert_ids is not None:
            weights = [take_groups(weight, expert_ids) for weight in weights]
        return compute(x, *weights)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
