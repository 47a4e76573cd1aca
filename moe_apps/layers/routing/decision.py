"""What a router decides about each token."""

from __future__ import annotations

from typing import Any, NamedTuple


class RoutingDecision(NamedTuple):
    """Which experts a token goes to, and with what weight.

    Tokens are numbered over all leading axes of the input, so an input of shape
    `(batch, time, features)` has `batch * time` tokens.

    Attributes:
        indices: `(tokens, k)` int32, the chosen experts, best first.
        weights: `(tokens, k)` float32, the weight of each chosen expert's output. A weight of
            exactly 0 means inactive: the pair takes no slot and enters no statistic.
        probabilities: `(tokens, experts)` float32, the router's full distribution.
        losses: name -> scalar, already weighted and masked.
        statistics: name -> tensor: `load` `(experts,)` share of active pairs, `entropy` (nats,
            mean over real tokens), `active_experts` (mean number per real token).
        state: what the next layer's router receives, or None.
    """

    indices: Any
    weights: Any
    probabilities: Any
    losses: dict[str, Any]
    statistics: dict[str, Any]
    state: Any = None
