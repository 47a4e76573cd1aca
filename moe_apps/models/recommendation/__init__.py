"""Multi-task ranking and uplift, one module a published system."""

from moe_apps.models.recommendation.adapt_dhm import AdaptDHM
from moe_apps.models.recommendation.aw_moe import AWMoE
from moe_apps.models.recommendation.field_embedding import Categorical, Fields, History
from moe_apps.models.recommendation.home import HoME
from moe_apps.models.recommendation.losses import TaskLoss
from moe_apps.models.recommendation.magnet import MAGNET
from moe_apps.models.recommendation.mmoe import MMoE
from moe_apps.models.recommendation.mtmt import MTMT
from moe_apps.models.recommendation.ple import CGC, PLE
from moe_apps.models.recommendation.ranker import Ranker, TaskSpec
from moe_apps.models.recommendation.shared_bottom import SharedBottom

SYSTEMS: dict[str, type[Ranker]] = {
    "shared_bottom": SharedBottom,
    "mmoe": MMoE,
    "cgc": CGC,
    "ple": PLE,
    "home": HoME,
    "aw_moe": AWMoE,
    "adapt_dhm": AdaptDHM,
    "mtmt": MTMT,
    "magnet": MAGNET,
}
"""Class of each system, by its name in settings."""

__all__ = [
    "CGC",
    "MAGNET",
    "MTMT",
    "PLE",
    "SYSTEMS",
    "AWMoE",
    "AdaptDHM",
    "Categorical",
    "Fields",
    "History",
    "HoME",
    "MMoE",
    "Ranker",
    "SharedBottom",
    "TaskLoss",
    "TaskSpec",
]
