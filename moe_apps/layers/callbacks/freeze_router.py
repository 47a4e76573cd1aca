"""Routers that stop learning once they agree with themselves."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from moe_apps.layers.callbacks.probe import router_calls, routers_of
from moe_apps.layers.catalogue import listed
from moe_apps.registry import CALLBACKS


@listed(
    CALLBACKS,
    "freeze_router_when_stable",
    paper="Li et al. 2024, arXiv 2406.16437",
    purpose="stop training routers when their assignment no longer changes",
    batch_independent=None,
    causal=None,
    interpretation=True,
)
class FreezeRouterWhenStable(keras.callbacks.Callback):
    """Freezes all routers for good once the assignment of given examples has settled.

    After each epoch the churn is measured: the share of tokens whose set of experts is another
    than an epoch ago, in the router where it is largest. It is logged as `routing_churn`. From
    the trigger on, each step's update of the routers' weights is taken back before the next step,
    so they stay equal to the last bit under any optimizer, its momentum and weight decay
    included, while everything else trains. Settings stay free for schedules.

    Interpretation: the source stops router updates after convergence, told by the differences of
    gate scores; we measure churn on a probe.

    Args:
        probe: inputs of the model whose assignment is watched, a few hundred tokens.
        min_rounds: epochs before which nothing is frozen. Default 3.
        patience: epochs in a row with a churn of at most `churn`. Default 2.
        churn: share of tokens, in [0, 1). Default 0.01.

    Raises:
        ValueError: at the start of training with `steps_per_execution` above 1, where several
            updates would happen between two calls of this callback.

    Source: Li et al. 2024, "Theory on Mixture-of-Experts in Continual Learning",
    arXiv 2406.16437.

    Example:
        >>> callback = FreezeRouterWhenStable(np.zeros((4, 8, 16), "float32"), patience=3)
    """

    def __init__(
        self, probe: Any, min_rounds: int = 3, patience: int = 2, churn: float = 0.01
    ) -> None:
        super().__init__()
        if min_rounds < 1:
            raise ValueError(f"`min_rounds` must be at least 1. Received: {min_rounds}")
        if patience < 1:
            raise ValueError(f"`patience` must be at least 1. Received: {patience}")
        if not 0 <= churn < 1:
            raise ValueError(f"`churn` must be in [0, 1). Received: {churn}")
        self.probe = probe
        self.min_rounds = min_rounds
        self.patience = patience
        self.churn = churn
        self.frozen = False
        self._kept: list[tuple[Any, np.ndarray]] = []
        self._rounds = 0
        self._calm = 0
        self._last: dict[str, np.ndarray] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        if self.model.steps_per_execution != 1:
            raise ValueError(
                "`FreezeRouterWhenStable` needs `compile(steps_per_execution=1)`. "
                f"Received: {self.model.steps_per_execution}"
            )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.frozen:
            _ = self.model  # asking for it fetches the weights from JAX' training loop
            for weight, value in self._kept:
                weight.assign(value)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assignment = _assignment(self.model, self.probe)
        self._rounds += 1
        if self._last:
            churn = max(
                float(np.mean((now != self._last[path]).any(axis=-1)))
                for path, now in assignment.items()
            )
            self._calm = self._calm + 1 if churn <= self.churn else 0
            if logs is not None:
                logs["routing_churn"] = churn
        self._last = assignment
        if not self.frozen and self._rounds >= self.min_rounds and self._calm >= self.patience:
            self._kept = [
                # A copy: JAX hands the memory of the weights on to the next step.
                (weight, np.array(ops.convert_to_numpy(weight)))
                for router in routers_of(self.model)
                for weight in router.weights
                if not any(weight is setting for setting in router.settings.values())
            ]
            self.frozen = True


def _assignment(model: keras.Model, probe: Any) -> dict[str, np.ndarray]:
    """Router path -> `(tokens, experts)` boolean, whether the expert serves the token."""
    return {
        path: np.concatenate(
            [ops.convert_to_numpy(call.decision.weight_of_expert()) != 0 for call in calls]
        )
        for path, calls in router_calls(model, probe).items()
        if calls
    }
