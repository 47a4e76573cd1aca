"""Experts by the thousand, each so small that it is looked up rather than run."""

from moe_apps.layers.memory.memory_experts import MemoryExperts
from moe_apps.layers.memory.monet import Monet, MonetRouter
from moe_apps.layers.memory.peer import PEER
from moe_apps.layers.memory.product_keys import product_key_top_k
from moe_apps.layers.memory.ultra_mem import UltraMem, ValueTable

__all__ = [
    "PEER",
    "MemoryExperts",
    "Monet",
    "MonetRouter",
    "UltraMem",
    "ValueTable",
    "product_key_top_k",
]
