"""Keras callbacks that steer or follow the routing while a model trains."""

from moe_apps.layers.callbacks.comet_permutation import PermutationSearch
from moe_apps.layers.callbacks.freeze_router import FreezeRouterWhenStable
from moe_apps.layers.callbacks.mixer_gate import MixERGateUpdate
from moe_apps.layers.callbacks.reseed_dead_experts import ReseedDeadExperts
from moe_apps.layers.callbacks.scheduled_setting import ScheduledSetting

__all__ = [
    "FreezeRouterWhenStable",
    "MixERGateUpdate",
    "PermutationSearch",
    "ReseedDeadExperts",
    "ScheduledSetting",
]
