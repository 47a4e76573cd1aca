"""Routers: from token features to a `RoutingDecision`."""

from moe_apps.layers.routing.block_ffn import (
    BlockFFNRouter,
    chunk_level_sparsity,
    token_level_sparsity,
)
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.enforced import EnforcedRouting
from moe_apps.layers.routing.expert_choice import ExpertChoice
from moe_apps.layers.routing.graph_mixing import AttentionAware, SimilarityAware
from moe_apps.layers.routing.gshard import GShardTop2
from moe_apps.layers.routing.losses import balance_loss, expert_load, z_loss
from moe_apps.layers.routing.mixer import MixER
from moe_apps.layers.routing.moe_plus_plus import MoEPlusPlus, capacity_split
from moe_apps.layers.routing.moe_x import MoEX
from moe_apps.layers.routing.nearest_centre import NearestCentre
from moe_apps.layers.routing.noisy_top_k import NoisyTopK
from moe_apps.layers.routing.optimal_transport import SparseTransport
from moe_apps.layers.routing.prototype import PrototypeRouter
from moe_apps.layers.routing.router import Router
from moe_apps.layers.routing.soft_moe import SoftMoE
from moe_apps.layers.routing.switch import Switch
from moe_apps.layers.routing.top_k import TopK
from moe_apps.layers.routing.uncertainty import UncertaintyAware

__all__ = [
    "AttentionAware",
    "BlockFFNRouter",
    "EnforcedRouting",
    "ExpertChoice",
    "GShardTop2",
    "MixER",
    "MoEPlusPlus",
    "MoEX",
    "NearestCentre",
    "NoisyTopK",
    "PrototypeRouter",
    "Router",
    "RouterInputs",
    "RoutingDecision",
    "SimilarityAware",
    "SoftMoE",
    "SparseTransport",
    "Switch",
    "TopK",
    "UncertaintyAware",
    "balance_loss",
    "capacity_split",
    "chunk_level_sparsity",
    "expert_load",
    "token_level_sparsity",
    "z_loss",
]
