"""MoRA: rank-1 experts that choose themselves, task after task."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.lora.frozen_base import AdaptedDense
from moe_apps.layers.lora.lora_experts import check_rank
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "mo_ra",
    paper="Lu et al. 2025, arXiv 2506.21035",
    purpose="fine-tunes a frozen dense layer task after task, and keeps what earlier tasks learnt",
    interpretation=True,
)
class MoRA(AdaptedDense):
    """A frozen dense layer plus pairs of vectors `a_i, b_i` that say themselves when they matter.

    `y = activation(x W + b + (alpha / rank) sum_i s_i (a_i x) b_i)`. The relevance is the pair's
    own response, `r_i = |a_i x| / (|a_i| |x|)` in [0, 1], and `s_i = exp((r_i - 1) / temperature)`
    for the chosen pairs: in training the k most relevant of each task's, otherwise those with
    `r_i >= threshold`.

    Each task has `rank` pairs of its own. `start_task` freezes those of all others; a task's b
    start at 0, so that starting one changes no output, and later training leaves the earlier
    tasks' pairs as they are, bit by bit.

    Source: Lu et al. 2025, "Mixture of Rank-1 Associative Memory Experts", arXiv 2506.21035.
    Interpretation: we know the parts (relevance by self-activation, a temperature, the k best in
    training, a threshold at inference, pairs frozen after their task) and filled in the formulas;
    the relevance is not normalised over pairs, because new ones would then change what old ones
    give. The pruning of ranks is left out.

    Args:
        base: the `keras.layers.Dense` to adapt. Its weights become non-trainable.
        num_tasks: number of tasks that there is room for. Default 1.
        rank: pairs of each task. Default 8.
        k: pairs of each task that a token uses in training. Default 2.
        alpha: scale, divided by the rank. Default 16.
        temperature: of the relevance, positive. Default 1.
        threshold: relevance from which on a pair is used at inference. Default 0.
        task: number of the task that is trained. Default 0.

    Call arguments:
        x: `(..., features)`. Tokens do not interact, so padding needs no mask.

    Returns:
        `(..., units)`. No losses are added.

    Example:
        >>> layer = MoRA(keras.layers.Dense(7), num_tasks=2, rank=2, k=1)
        >>> layer.build((None, 8))
        >>> layer.start_task(1)
        >>> [weight.path.split("/")[-2:] for weight in layer.trainable_weights]
        [['task_1', 'a'], ['task_1', 'b']]
    """

    def __init__(
        self,
        base: keras.layers.Dense | dict[str, Any],
        num_tasks: int = 1,
        rank: int = 8,
        k: int = 2,
        alpha: float = 16.0,
        temperature: float = 1.0,
        threshold: float = 0.0,
        task: int = 0,
        **kwargs: Any,
    ) -> None:
        check_rank(rank, alpha)
        if num_tasks < 1:
            raise ValueError(f"`num_tasks` must be at least 1. Received: {num_tasks}")
        if not 1 <= k <= rank:
            raise ValueError(f"`k` must be in [1, rank]. Received: k={k}, rank={rank}")
        if temperature <= 0:
            raise ValueError(f"`temperature` must be positive. Received: {temperature}")
        self._check_task(task, num_tasks)
        super().__init__(base, **kwargs)
        self.supports_masking = True
        self.num_tasks = num_tasks
        self.rank = rank
        self.k = k
        self.alpha = alpha
        self.temperature = temperature
        self.threshold = threshold
        self.task = task
        self.pairs = [
            _Pairs(rank, k, temperature, threshold, dtype=self.dtype_policy, name=f"task_{number}")
            for number in range(num_tasks)
        ]
        self.freeze()

    @staticmethod
    def _check_task(task: int, num_tasks: int) -> None:
        if not 0 <= task < num_tasks:
            raise ValueError(f"`task` must be in [0, {num_tasks}). Received: {task}")

    def start_task(self, task: int) -> None:
        """Train the pairs of one task alone. A compiled model must be compiled again.

        Args:
            task: its number, from 0.
        """
        self._check_task(task, self.num_tasks)
        self.task = task
        self.pairs[task].trainable = self.trainable
        self.freeze()

    def freeze(self) -> None:
        super().freeze()
        for number, pairs in enumerate(getattr(self, "pairs", ())):  # none while the base is set
            if number != self.task:
                pairs.trainable = False

    def build_update(self, features: int, units: int) -> None:
        for pairs in self.pairs:
            pairs.build_pairs(features, units)

    def update(self, x: Any, mask: Any, training: bool | None) -> Any:
        return (self.alpha / self.rank) * sum(pairs(x, training=training) for pairs in self.pairs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "rank": self.rank,
            "k": self.k,
            "alpha": self.alpha,
            "temperature": self.temperature,
            "threshold": self.threshold,
            "task": self.task,
        }


class _Pairs(keras.layers.Layer):
    """The rank-1 pairs of one task: `sum_i s_i (a_i x) b_i` over the chosen."""

    def __init__(
        self, rank: int, k: int, temperature: float, threshold: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rank = rank
        self.k = k
        self.temperature = temperature
        self.threshold = threshold

    def build_pairs(self, features: int, units: int) -> None:
        self.a = self.add_weight(name="a", shape=(features, self.rank), initializer="he_uniform")
        self.b = self.add_weight(name="b", shape=(self.rank, units), initializer="zeros")
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        response = ops.matmul(x, self.a)  # (..., rank)
        relevance = self.relevance(x, response)
        if training:
            least = ops.min(ops.top_k(relevance, self.k)[0], axis=-1, keepdims=True)
        else:
            least = self.threshold
        strength = ops.exp((relevance - 1) / self.temperature)
        strength = ops.where(relevance >= least, strength, 0.0)
        return ops.matmul(ops.cast(strength, response.dtype) * response, self.b)

    def relevance(self, x: Any, response: Any) -> Any:
        """`|a_i x| / (|a_i| |x|)` `(..., rank)` float32."""

        def length(values: Any, axis: int) -> Any:
            squares = ops.sum(ops.square(ops.cast(values, "float32")), axis, keepdims=True)
            return ops.sqrt(ops.maximum(squares, 1e-12))  # the root's gradient at 0 is infinite

        product = length(x, -1) * length(self.a, 0)
        return ops.abs(ops.cast(response, "float32")) / product
