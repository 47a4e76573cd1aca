"""Sizes of the trajectory models, by name."""

from __future__ import annotations

from typing import Any

# The paper's own sizes are not public knowledge to us: all of these are ours. The TCN has as many
# levels as its history needs.
TMMOE_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"channels": 16, "num_experts": 3, "expert_dim": 16, "head_dim": 16, "dropout": 0.0},
    "small": {"channels": 96, "num_experts": 6, "expert_dim": 96, "head_dim": 96, "dropout": 0.0},
    "base": {"channels": 128, "num_experts": 6, "expert_dim": 128, "head_dim": 128, "dropout": 0.2},
}
