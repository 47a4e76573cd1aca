"""Several tasks, or several clusters of rows, over one pool of experts."""

from moe_apps.layers.multi_gate.cgc import CGC, PLE
from moe_apps.layers.multi_gate.clusters import AdaptDHM
from moe_apps.layers.multi_gate.home import FeatureGate, HoME
from moe_apps.layers.multi_gate.mmoe import MMoE
from moe_apps.layers.multi_gate.task_memory import TaskExpertMemory

__all__ = [
    "CGC",
    "PLE",
    "AdaptDHM",
    "FeatureGate",
    "HoME",
    "MMoE",
    "TaskExpertMemory",
]
