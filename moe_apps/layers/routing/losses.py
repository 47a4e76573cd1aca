"""Auxiliary losses that keep experts busy, masked and normalised once for all routers."""

from __future__ import annotations

from typing import Any

from keras import ops


def masked_mean(values: Any, mask: Any = None) -> Any:
    """Mean over the first axis, over the rows where `mask` is true.

    Args:
        values: `(tokens, ...)`.
        mask: `(tokens,)`, true for real tokens; None means all.

    Example:
        >>> float(masked_mean(ops.array([1.0, 3.0, 100.0]), ops.array([True, True, False])))
        2.0
    """
    if mask is None:
        return ops.mean(values, axis=0)
    keep = ops.cast(mask, values.dtype)
    keep = ops.reshape(keep, (-1,) + (1,) * (len(values.shape) - 1))
    return ops.sum(values * keep, axis=0) / ops.maximum(ops.sum(keep), 1.0)


def expert_counts(indices: Any, weights: Any, num_experts: int) -> Any:
    """Number of active (token, choice) pairs of each expert, `(experts,)` float32.

    Args:
        indices: `(tokens, k)` int.
        weights: `(tokens, k)`; pairs of weight 0 are not counted.
        num_experts: number of experts.
    """
    active = ops.cast(ops.not_equal(weights, 0), "float32")
    # (tokens, k, experts) -> (experts,)
    return ops.sum(ops.one_hot(indices, num_experts) * active[..., None], axis=(0, 1))


def expert_load(indices: Any, weights: Any, num_experts: int) -> Any:
    """Share of active (token, choice) pairs that each expert receives; sums to 1.

    Args:
        indices: `(tokens, k)` int.
        weights: `(tokens, k)`; pairs of weight 0 are not counted.
        num_experts: number of experts.

    Example:
        >>> load = expert_load(ops.array([[0, 1], [0, 2]]), ops.ones((2, 2)), 4)
        >>> [float(share) for share in load]
        [0.5, 0.25, 0.25, 0.0]
    """
    counts = expert_counts(indices, weights, num_experts)
    return counts / ops.maximum(ops.sum(counts), 1.0)


def entropy(probabilities: Any) -> Any:
    """Entropy in nats of each row of `(tokens, experts)`, `(tokens,)`.

    Example:
        >>> round(float(entropy(ops.array([[0.5, 0.5, 0.0]]))[0]), 4)  # ln 2
        0.6931
    """
    # With a floor, a probability of 0 adds nothing.
    return -ops.sum(probabilities * ops.log(ops.maximum(probabilities, 1e-30)), axis=-1)


def balance_loss(load: Any, probabilities: Any, mask: Any = None) -> Any:
    """Load-balance loss `E * sum_e load_e * P_e`, exactly 1 at perfect balance.

    The gradient flows through the mean probabilities `P_e` only. The value is E when all
    tokens go to one expert with certainty; it can fall below 1, so 1 is no lower bound.

    Source: Fedus et al. 2021, "Switch Transformers", arXiv 2101.03961, with load normalised
    over the k choices so that the value does not depend on k.

    Args:
        load: `(experts,)` share of pairs per expert, summing to 1.
        probabilities: `(tokens, experts)` router distribution.
        mask: `(tokens,)` true for real tokens, or None.

    Example:
        >>> float(balance_loss(ops.ones(4) / 4, ops.ones((8, 4)) / 4))
        1.0
    """
    num_experts = probabilities.shape[-1]
    importance = masked_mean(probabilities, mask)
    return num_experts * ops.sum(ops.stop_gradient(load) * importance)


def z_loss(logits: Any, mask: Any = None) -> Any:
    """Router z-loss: mean over real tokens of `logsumexp(logits) ** 2`.

    Source: Zoph et al. 2022, "ST-MoE", arXiv 2202.08906.

    Example:
        >>> round(float(z_loss(ops.zeros((3, 4)))), 4)  # (ln 4)^2
        1.9218
    """
    return masked_mean(ops.square(ops.logsumexp(logits, axis=-1)), mask)
