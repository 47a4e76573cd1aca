"""Routers: from token features to a `RoutingDecision`."""

from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.gshard import GShardTop2
from moe_apps.layers.routing.losses import balance_loss, expert_load, z_loss
from moe_apps.layers.routing.moe_plus_plus import MoEPlusPlus, capacity_split
from moe_apps.layers.routing.nearest_centre import NearestCentre
from moe_apps.layers.routing.noisy_top_k import NoisyTopK
from moe_apps.layers.routing.router import Router
from moe_apps.layers.routing.switch import Switch
from moe_apps.layers.routing.top_k import TopK

__all__ = [
    "GShardTop2",
    "MoEPlusPlus",
    "NearestCentre",
    "NoisyTopK",
    "Router",
    "RouterInputs",
    "RoutingDecision",
    "Switch",
    "TopK",
    "balance_loss",
    "capacity_split",
    "expert_load",
    "z_loss",
]
