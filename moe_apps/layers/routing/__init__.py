"""Routers: from token features to a `RoutingDecision`."""

from moe_apps.layers.routing.adamoe import AdaMoE
from moe_apps.layers.routing.bias import LossFreeTopK
from moe_apps.layers.routing.block_ffn import (
    BlockFFNRouter,
    chunk_level_sparsity,
    token_level_sparsity,
)
from moe_apps.layers.routing.comet import Comet
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.deepseek import DeepSeekGate
from moe_apps.layers.routing.dselect_k import DSelectK
from moe_apps.layers.routing.dynamoe import DynaMoE, layer_schedule
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
from moe_apps.layers.routing.recurrent import RecurrentRouter
from moe_apps.layers.routing.rex import ReX
from moe_apps.layers.routing.router import Router
from moe_apps.layers.routing.smoe_dropout import SMoEDropout
from moe_apps.layers.routing.soft_moe import SoftMoE
from moe_apps.layers.routing.switch import Switch
from moe_apps.layers.routing.thor import Thor, consistency_loss
from moe_apps.layers.routing.top_k import TopK
from moe_apps.layers.routing.top_p import TopP
from moe_apps.layers.routing.uncertainty import UncertaintyAware

__all__ = [
    "AdaMoE",
    "AttentionAware",
    "BlockFFNRouter",
    "Comet",
    "DSelectK",
    "DeepSeekGate",
    "DynaMoE",
    "EnforcedRouting",
    "ExpertChoice",
    "GShardTop2",
    "LossFreeTopK",
    "MixER",
    "MoEPlusPlus",
    "MoEX",
    "NearestCentre",
    "NoisyTopK",
    "PrototypeRouter",
    "ReX",
    "RecurrentRouter",
    "Router",
    "RouterInputs",
    "RoutingDecision",
    "SMoEDropout",
    "SimilarityAware",
    "SoftMoE",
    "SparseTransport",
    "Switch",
    "Thor",
    "TopK",
    "TopP",
    "UncertaintyAware",
    "balance_loss",
    "capacity_split",
    "chunk_level_sparsity",
    "consistency_loss",
    "expert_load",
    "layer_schedule",
    "token_level_sparsity",
    "z_loss",
]
