"""Expert banks: many experts of one kind, their weights stacked."""

from moe_apps.layers.experts.constant import ConstantExperts, CopyExperts, ZeroExperts
from moe_apps.layers.experts.conversion import (
    merge_slices,
    order_by_similarity,
    split_dense,
    upcycle_dense,
)
from moe_apps.layers.experts.convolution import ConvExperts
from moe_apps.layers.experts.depthwise import DepthwiseConvFFN
from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.layers.experts.ffn import FFNExperts
from moe_apps.layers.experts.fourier import FourierExperts
from moe_apps.layers.experts.mixture import MixedExperts
from moe_apps.layers.experts.mlp import MLPExperts, ScaledMLPExperts
from moe_apps.layers.experts.modulation import ModulationExperts
from moe_apps.layers.experts.operations import OperationExperts
from moe_apps.layers.experts.swiglu import SwiGLU, SwiGLUExperts

__all__ = [
    "ConstantExperts",
    "ConvExperts",
    "CopyExperts",
    "DepthwiseConvFFN",
    "ExpertBank",
    "FFNExperts",
    "FourierExperts",
    "MLPExperts",
    "MixedExperts",
    "ModulationExperts",
    "OperationExperts",
    "ScaledMLPExperts",
    "SwiGLU",
    "SwiGLUExperts",
    "ZeroExperts",
    "merge_slices",
    "order_by_similarity",
    "split_dense",
    "upcycle_dense",
]
