"""What tensorflow-addons had and Keras 3 lacks, under the same names and arguments.

tensorflow-addons reached its end of life in May 2024, and its last release cannot be imported
beside Keras 3. These give its numbers (`make parity` measures them) on every backend of Keras.
"""

from moe_apps.layers.addons.agreement import CohenKappa, MatthewsCorrelationCoefficient
from moe_apps.layers.addons.lookahead import Lookahead
from moe_apps.layers.addons.losses import PinballLoss, SigmoidFocalCrossEntropy
from moe_apps.layers.addons.rectified_adam import RectifiedAdam
from moe_apps.layers.addons.weight_normalization import WeightNormalization

__all__ = [
    "CohenKappa",
    "Lookahead",
    "MatthewsCorrelationCoefficient",
    "PinballLoss",
    "RectifiedAdam",
    "SigmoidFocalCrossEntropy",
    "WeightNormalization",
]
