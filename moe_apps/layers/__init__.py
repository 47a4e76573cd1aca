"""Sparse Mixture-of-Experts layers for Keras 3, in `keras.ops` alone."""

from moe_apps.layers.dispatch import Capacity, Dense, Dispatcher, Dropless
from moe_apps.layers.experts import ExpertBank, FFNExperts, SwiGLU, SwiGLUExperts
from moe_apps.layers.moe import MoE

from moe_apps.layers import addons
from moe_apps.layers.routing import (
    GShardTop2,
    Router,
    RouterInputs,
    RoutingDecision,
    Switch,
    TopK,
)

__all__ = [
    "Capacity",
    "Dense",
    "Dispatcher",
    "Dropless",
    "ExpertBank",
    "FFNExperts",
    "GShardTop2",
    "MoE",
    "Router",
    "RouterInputs",
    "RoutingDecision",
    "SwiGLU",
    "SwiGLUExperts",
    "Switch",
    "TopK",
    "addons",
]
