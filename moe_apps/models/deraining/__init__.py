"""Systems that remove rain, drops, snow and haze from images."""

from moe_apps.models.deraining.drsformer import DRSformerBackbone
from moe_apps.models.deraining.losses import RestorationLoss
from moe_apps.models.deraining.mofme import MoFMEBackbone
from moe_apps.models.deraining.restorer import Restorer
from moe_apps.models.deraining.u_net import UNetBackbone

__all__ = ["DRSformerBackbone", "MoFMEBackbone", "RestorationLoss", "Restorer", "UNetBackbone"]
