"""Expert banks: many experts of one kind, their weights stacked."""

from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.layers.experts.ffn import FFNExperts
from moe_apps.layers.experts.swiglu import SwiGLU, SwiGLUExperts

__all__ = ["ExpertBank", "FFNExperts", "SwiGLU", "SwiGLUExperts"]
