"""Routing by a domain number that the caller knows."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.mixer import by_example
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS

_OFF = -1e9


@listed(
    ROUTERS,
    "enforced",
    paper="Gururangan et al. 2021, arXiv 2108.05036 (DEMix)",
    purpose="the expert that a given domain number names",
)
class EnforcedRouting(Router):
    """Sends a token to the expert whose number is its domain, with weight 1.

    A domain that is not in `0 .. num_experts - 1`, such as -1, is unknown. Its tokens go to no
    expert, or, with `learned_gate`, to the best expert of `softmax(x W)` with its probability as
    the weight. Tokens of known domains do not train W.

    Source: Gururangan et al. 2021, "DEMix Layers", arXiv 2108.05036 (one expert a domain, given
    in training); the learned gate for unknown domains is ours.

    Args:
        learned_gate: route tokens of unknown domain by a gate. Default False.
        **kwargs: of `Router`. There are losses with `learned_gate` only, over all real tokens;
            those of known domains enter them without gradient.

    Call arguments:
        context: integers `(batch,)`, or one for each position, of the leading shape of `x`.

    Example:
        >>> router = EnforcedRouting(num_experts=4)
        >>> decision = router(ops.ones((2, 3, 8)), context=ops.array([3, -1]))
        >>> [int(i) for i in decision.indices[:, 0]], [float(w) for w in decision.weights[:, 0]]
        ([3, 3, 3, 0, 0, 0], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    """

    def __init__(self, learned_gate: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.learned_gate = learned_gate

    def build(self, input_shape: Any) -> None:
        if self.learned_gate:
            super().build(input_shape)
        self.known_num_experts()
        self.built = True

    def score(self, inputs: RouterInputs) -> Any:
        """Logits: of the known domain 0 and of the others very low, or of the gate."""
        if inputs.context is None:
            raise ValueError("`EnforcedRouting` needs the domain numbers as `context`.")
        num_experts = self.known_num_experts()
        domain = ops.cast(inputs.context, "int32")
        if len(domain.shape) == 1:
            domain = by_example(domain, inputs)
        domain = ops.reshape(domain, (-1,))
        known = ops.logical_and(domain >= 0, domain < num_experts)[:, None]
        enforced = ops.one_hot(ops.where(known[:, 0], domain, num_experts), num_experts)
        enforced = ops.where(enforced > 0, 0.0, _OFF)
        if not self.learned_gate:
            return enforced
        return ops.where(known, enforced, super().score(inputs))

    def distribution(self, logits: Any, inputs: RouterInputs) -> Any:
        # Exactly 1 and 0 for enforced tokens, and 0 for all experts where the domain is unknown.
        enforced = ops.min(logits, axis=-1, keepdims=True) < _OFF / 2
        certain = ops.exp(ops.minimum(logits, 0.0))
        return ops.where(enforced, certain, super().distribution(logits, inputs))

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        return super().regularise(logits, decision, inputs) if self.learned_gate else {}

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")[:, None]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "learned_gate": self.learned_gate}
