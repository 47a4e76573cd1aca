"""Low-rank experts on frozen layers, for fine-tuning."""

from moe_apps.layers.lora.dyn_mole import DynMoLE, tsallis_entropy
from moe_apps.layers.lora.fly_lora import FlyLoRA
from moe_apps.layers.lora.llava_mole import LLaVAMoLE
from moe_apps.layers.lora.lora_dense import MoELoRADense, mola_allocation
from moe_apps.layers.lora.lora_experts import LoRAExperts
from moe_apps.layers.lora.mix_lora import MixLoRAExperts
from moe_apps.layers.lora.mo_ra import MoRA

__all__ = [
    "DynMoLE",
    "FlyLoRA",
    "LLaVAMoLE",
    "LoRAExperts",
    "MixLoRAExperts",
    "MoELoRADense",
    "MoRA",
    "mola_allocation",
    "tsallis_entropy",
]
