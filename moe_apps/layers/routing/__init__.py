"""Routers: from token features to a `RoutingDecision`."""

from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.gshard import GShardTop2
from moe_apps.layers.routing.losses import balance_loss, expert_load, z_loss
from moe_apps.layers.routing.router import Router
from moe_apps.layers.routing.switch import Switch
from moe_apps.layers.routing.top_k import TopK

__all__ = [
    "GShardTop2",
    "Router",
    "RouterInputs",
    "RoutingDecision",
    "Switch",
    "TopK",
    "balance_loss",
    "expert_load",
    "z_loss",
]
