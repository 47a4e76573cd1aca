"""A second chance for experts that no token chooses."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from moe_apps.layers.callbacks.probe import all_layers, router_calls
from moe_apps.layers.catalogue import listed
from moe_apps.layers.moe import MoE
from moe_apps.registry import CALLBACKS


@listed(
    CALLBACKS,
    "reseed_dead_experts",
    paper="our own",
    purpose="experts without tokens start again as copies of the busiest",
    batch_independent=None,
    causal=None,
)
class ReseedDeadExperts(keras.callbacks.Callback):
    """Replaces experts whose load stayed low by perturbed copies of the busiest expert.

    After each epoch the load of the experts of every `MoE` layer is measured on given examples.
    An expert whose share stayed below `share / num_experts` for `patience` epochs gets
    `w + noise * std(w) * n`, n standard normal, of each stacked weight w of the busiest expert,
    and, where the router scores by a matrix, a column of random direction and of the length of
    the busiest expert's column. What the optimizer remembers of the old weights is left alone:
    a weight without gradients has nearly none.

    Args:
        probe: inputs of the model on which load is measured, a few hundred tokens.
        share: part of the fair share `1 / num_experts` below which an expert counts as dead, in
            (0, 1). Default 0.1.
        patience: epochs in a row. Default 2.
        noise: relative size of the perturbation, > 0. Default 0.1.
        seed: seed of the perturbation. Default 0.

    Example:
        >>> callback = ReseedDeadExperts(np.zeros((4, 8, 16), "float32"), patience=1)
    """

    def __init__(
        self,
        probe: Any,
        share: float = 0.1,
        patience: int = 2,
        noise: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"`share` must be in (0, 1). Received: {share}")
        if patience < 1:
            raise ValueError(f"`patience` must be at least 1. Received: {patience}")
        if noise <= 0:
            raise ValueError(f"`noise` must be greater than 0. Received: {noise}")
        self.probe = probe
        self.share = share
        self.patience = patience
        self.noise = noise
        self.seed = seed
        self._random = np.random.default_rng(seed)
        self._idle: dict[str, np.ndarray] = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        model = self.model
        calls = router_calls(model, self.probe)
        for layer in all_layers(model):
            if not isinstance(layer, MoE) or not calls[layer.router.path]:
                continue
            loads = [call.decision.statistics["load"] for call in calls[layer.router.path]]
            load = np.mean([ops.convert_to_numpy(load) for load in loads], axis=0)
            idle = self._idle.setdefault(layer.path, np.zeros(len(load), "int32"))
            idle[:] = np.where(load * len(load) < self.share, idle + 1, 0)
            dead = np.flatnonzero(idle >= self.patience)
            if len(dead):
                self._reseed(layer, dead, busiest=int(np.argmax(load)))
                idle[dead] = 0

    def _reseed(self, layer: MoE, dead: np.ndarray, busiest: int) -> None:
        for weight in layer.experts.stacked_weights:
            values = np.array(ops.convert_to_numpy(ops.cast(weight, "float32")))
            model = values[busiest]
            for expert in dead:
                noise = self._random.normal(size=model.shape)
                values[expert] = model + self.noise * model.std() * noise
            weight.assign(values)
        kernel = getattr(layer.router, "kernel", None)
        if kernel is not None and kernel.shape[-1] == layer.experts.num_experts:
            columns = np.array(ops.convert_to_numpy(kernel))  # (features, experts)
            fresh = self._random.normal(size=(len(columns), len(dead)))
            length = np.linalg.norm(columns[:, busiest])
            columns[:, dead] = length * fresh / np.linalg.norm(fresh, axis=0)
            kernel.assign(columns)
