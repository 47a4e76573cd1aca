"""The update of a MixER gate: clusters of contexts, and a linear fit to them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.spatial.distance import cdist

from moe_apps.layers.callbacks.probe import router_calls, routers_of
from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.mixer import MixER
from moe_apps.registry import CALLBACKS


@listed(
    CALLBACKS,
    "mixer_gate_update",
    paper="Nzoyem et al. 2025, arXiv 2502.05335",
    purpose="fits the gates of MixER routers to clusters of the contexts",
    batch_independent=None,
    causal=None,
)
class MixERGateUpdate(keras.callbacks.Callback):
    """Fits the gate of every `MixER` router to clusters of the contexts, each `every` epochs.

    Contexts are what the router is given when the model runs on `inputs`. They are clustered by
    k-means, as many clusters as experts, by mean absolute distance, starting from the centroids
    of the last time. For each cluster and expert the loss of the cluster's examples with that
    expert is taken, the median over them; clusters and experts are then matched one to one,
    lowest loss first, and W is the least-squares solution of
    `[context + noise, 1] W = one_hot(expert of the context's cluster)`, noise N(0, 1e-4). Where a
    cluster is empty or k-means does not settle, W is left as it is.

    Source: Nzoyem et al. 2025, "Towards Foundational Models for Dynamical System
    Reconstruction", arXiv 2502.05335, and its released code. There the first centroids are small
    random numbers, here they are contexts drawn at random.

    Args:
        inputs: inputs of the model, the contexts among them.
        targets: what the model should answer, an array.
        loss: loss function or its name, per example. Default "mean_squared_error".
        every: epochs between updates, at least 1. Default 1.
        max_iterations: of k-means. Default 20.
        tolerance: largest movement of a centroid at which k-means has settled. Default 1e-3.
        seed: of the first centroids and the noise. Default 0.

    Raises:
        ValueError: at the start of training, when the model has no `MixER` router.

    Example:
        >>> callback = MixERGateUpdate([np.zeros((4, 8)), np.zeros((4, 2))], np.zeros((4, 8)))
    """

    def __init__(
        self,
        inputs: Any,
        targets: Any,
        loss: Any = "mean_squared_error",
        every: int = 1,
        max_iterations: int = 20,
        tolerance: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("every", every), ("max_iterations", max_iterations)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {value}")
        if tolerance <= 0:
            raise ValueError(f"`tolerance` must be greater than 0. Received: {tolerance}")
        self.inputs = inputs
        self.targets = targets
        self.loss = loss
        self.every = every
        self.max_iterations = max_iterations
        self.tolerance = tolerance
        self.seed = seed
        self._random = np.random.default_rng(seed)
        self._centroids: dict[str, np.ndarray] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        if not any(isinstance(router, MixER) for router in routers_of(self.model)):
            raise ValueError("`MixERGateUpdate` needs a model with a `MixER` router.")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch + 1) % self.every:
            return
        model = self.model
        for router in routers_of(model):
            if isinstance(router, MixER):
                self._update(model, router)

    def _update(self, model: keras.Model, router: MixER) -> None:
        call = router_calls(model, self.inputs)[router.path][0]
        contexts = np.asarray(ops.convert_to_numpy(call.context), "float64")
        num_experts = router.known_num_experts()
        start = self._centroids.get(router.path)
        if start is None:
            distinct = np.unique(contexts, axis=0)
            if len(distinct) < num_experts:
                return
            start = self._random.choice(distinct, num_experts, replace=False)
        found = k_means(contexts, start, self.max_iterations, self.tolerance)
        if found is None:
            return
        self._centroids[router.path], cluster = found
        losses = self._losses_by_expert(model, router)
        medians = np.stack([np.median(losses[cluster == c], axis=0) for c in range(num_experts)])
        expert = match(medians)[cluster]
        noisy = contexts + self._random.normal(0, 1e-4, contexts.shape)
        rows = np.concatenate([noisy, np.ones((len(noisy), 1))], axis=1)
        kernel, *_ = np.linalg.lstsq(rows, np.eye(num_experts)[expert], rcond=None)
        router.kernel.assign(kernel)

    def _losses_by_expert(self, model: keras.Model, router: MixER) -> np.ndarray:
        """`(examples, experts)`: the loss with every example sent to one expert."""
        function = keras.losses.get(self.loss)
        inputs = keras.tree.map_structure(ops.convert_to_tensor, self.inputs)
        targets = ops.convert_to_tensor(self.targets)
        before = np.array(ops.convert_to_numpy(router.kernel))
        columns = []
        for expert in range(before.shape[1]):
            forced = np.zeros_like(before)
            forced[-1, expert] = 1.0  # the row of the bias
            router.kernel.assign(forced)
            values = function(targets, model(inputs, training=False))
            values = ops.reshape(values, (ops.shape(values)[0], -1))
            columns.append(ops.convert_to_numpy(ops.mean(values, axis=1)))
        router.kernel.assign(before)
        return np.stack(columns, axis=1)


def k_means(
    points: np.ndarray, centroids: np.ndarray, max_iterations: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Centroids and the cluster of each point, by mean absolute distance.

    Args:
        points: `(points, features)`.
        centroids: `(clusters, features)`, where to start.
        max_iterations: rounds.
        tolerance: largest movement of an entry of a centroid at which it has settled.

    Returns:
        None where a cluster is empty, or the centroids have not settled in time.

    Example:
        >>> points = np.array([[0.0], [2.0], [9.0]])
        >>> centroids, cluster = k_means(points, np.array([[0.0], [5.0]]), 9, 0.1)
        >>> cluster.tolist(), centroids.ravel().tolist()
        ([0, 0, 1], [1.0, 9.0])
    """
    for _ in range(max_iterations):
        distance = cdist(points, centroids, "cityblock") / points.shape[1]
        cluster = np.argmin(distance, axis=1)
        if len(np.unique(cluster)) < len(centroids):
            return None
        moved = np.stack([points[cluster == c].mean(axis=0) for c in range(len(centroids))])
        settled = np.abs(moved - centroids).max() <= tolerance
        centroids = moved
        if settled:
            return centroids, cluster
    return None


def match(losses: np.ndarray) -> np.ndarray:
    """Expert of each cluster, one to one, the lowest loss of those left first.

    Args:
        losses: `(clusters, experts)`, as many of one as of the other.

    Example:
        >>> match(np.array([[1.0, 2.0], [0.0, 9.0]])).tolist()
        [1, 0]
    """
    left = np.array(losses, "float64")
    expert = np.zeros(len(left), "int64")
    for _ in range(len(left)):
        cluster, best = np.unravel_index(np.argmin(left), left.shape)
        expert[cluster] = best
        left[cluster, :] = left[:, best] = np.inf
    return expert
