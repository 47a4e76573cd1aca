"""Running experts whose rows the router itself has assigned."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.routing.decision import RoutingDecision


def run_chosen_tokens(tokens: Any, decision: RoutingDecision, experts: Any) -> Any:
    """Outputs `(tokens, features_out)` where each expert chose its tokens (kind "expert").

    Source: Zhou et al. 2022, "Expert Choice", arXiv 2202.09368.

    Args:
        tokens: `(tokens, features)`.
        decision: of kind "expert", `indices` and `weights` `(experts, slots)`.
        experts: the bank.
    """
    rows = ops.take(tokens, decision.indices, axis=0)  # (experts, slots, features)
    outputs = experts(rows)
    outputs = outputs * ops.cast(decision.weights, outputs.dtype)[..., None]
    flat = ops.reshape(outputs, (-1, outputs.shape[-1]))
    return ops.segment_sum(flat, ops.reshape(decision.indices, (-1,)), ops.shape(tokens)[0])


def run_mixed_slots(tokens: Any, decision: RoutingDecision, experts: Any) -> Any:
    """Outputs `(tokens, features_out)` where slots are mixtures of tokens (kind "slots").

    Source: Puigcerver et al. 2023, "From Sparse to Soft Mixtures of Experts", arXiv 2308.00951.

    Args:
        tokens: `(groups * time, features)`.
        decision: of kind "slots", `dispatch` and `weights` `(groups, time, experts, slots)`.
        experts: the bank.
    """
    groups, time, num_experts, slots = ops.shape(decision.dispatch)
    x = ops.reshape(tokens, (groups, time, tokens.shape[-1]))
    rows = ops.einsum("gtes,gtd->egsd", ops.cast(decision.dispatch, x.dtype), x)
    outputs = experts(ops.reshape(rows, (num_experts, groups * slots, x.shape[-1])))
    outputs = ops.reshape(outputs, (num_experts, groups, slots, outputs.shape[-1]))
    combine = ops.cast(decision.weights, outputs.dtype)
    return ops.reshape(
        ops.einsum("gtes,egso->gto", combine, outputs), (groups * time, outputs.shape[-1])
    )
