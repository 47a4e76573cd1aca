"""Finding where the experts stand in the trees of a COMET gate."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.optimize import linear_sum_assignment

from moe_apps.layers.callbacks.probe import routers_of
from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.comet import Comet, sinkhorn
from moe_apps.registry import CALLBACKS


@listed(
    CALLBACKS,
    "permutation_search",
    paper="Ibrahim et al. 2023, arXiv 2306.02824",
    purpose="learn where experts stand in the trees of a COMET gate",
    batch_independent=None,
    causal=None,
)
class PermutationSearch(keras.callbacks.Callback):
    """Cools the soft permutations of all `Comet(permute=True)` routers, then makes them hard.

    In epoch i of the search, the temperature is `start * (end / start) ** (i / (epochs - 1))`.
    After the last one, or where training ends before, each soft permutation is replaced by the
    permutation nearest to it, the solution of a linear assignment problem, which is solved outside
    the compiled step. Training then goes on with the experts in their places.

    Source: Ibrahim et al. 2023, "COMET", arXiv 2306.02824. The released code cools from 1e-3 to
    1e-7; our temperatures go with the 20 Sinkhorn iterations of `Comet`.

    Args:
        epochs: length of the search, at least 1. Default 5.
        start: temperature in the first epoch. Default 1.0.
        end: temperature in the last. Default 0.05.

    Raises:
        ValueError: at the start of training, when no router of the model has permutations.

    Example:
        >>> callback = PermutationSearch(epochs=3)
    """

    def __init__(self, epochs: int = 5, start: float = 1.0, end: float = 0.05) -> None:
        super().__init__()
        if epochs < 1:
            raise ValueError(f"`epochs` must be at least 1. Received: {epochs}")
        if not 0 < end <= start:
            raise ValueError(
                f"`end` must be greater than 0 and at most `start`. Received: start={start}, "
                f"end={end}"
            )
        self.epochs = epochs
        self.start = start
        self.end = end
        self._round = 0

    def on_train_begin(self, logs: Any = None) -> None:
        if not self._routers():
            raise ValueError("No router of the model is a `Comet(permute=True)`.")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        progress = min(self._round / max(self.epochs - 1, 1), 1.0)
        for router in self._routers():
            router.settings["temperature"].assign(self.start * (self.end / self.start) ** progress)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._round += 1
        if self._round == self.epochs:
            self._harden()

    def on_train_end(self, logs: Any = None) -> None:
        self._harden()

    def _routers(self) -> list[Comet]:
        # Asking for `self.model` fetches the weights from JAX' training loop.
        return [
            router
            for router in routers_of(self.model)
            if isinstance(router, Comet) and router.permute
        ]

    def _harden(self) -> None:
        for router in self._routers():
            if float(ops.convert_to_numpy(router.settings["permutation_found"])):
                continue
            logits = router.permutation_logits / router.settings["temperature"]
            soft = ops.convert_to_numpy(sinkhorn(logits, router.sinkhorn_iterations))
            hard = np.zeros_like(soft)
            for tree in range(len(soft)):
                hard[(tree, *linear_sum_assignment(soft[tree], maximize=True))] = 1
            router.permutation.assign(hard)
            router.settings["permutation_found"].assign(1.0)
