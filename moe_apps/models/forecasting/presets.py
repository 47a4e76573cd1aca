"""Sizes of the forecasting models, by name."""

from __future__ import annotations

from typing import Any

# base, large and ultra are the paper's. Its Table 2 lists other expert widths, which contradict
# its own parameter totals; routed experts of intermediate_dim / k give the totals.
# tiny and small are ours, for two CPU cores.
TIME_MOE_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "num_layers": 2,
        "num_heads": 4,
        "hidden_dim": 32,
        "intermediate_dim": 64,
        "initializer_std": 0.1,
        "embedding_std": 1.0,
    },
    "small": {
        "num_layers": 3,
        "num_heads": 8,
        "hidden_dim": 64,
        "intermediate_dim": 128,
        "initializer_std": 0.1,
        "embedding_std": 1.0,
    },
    "base": {"num_layers": 12, "num_heads": 12, "hidden_dim": 384, "intermediate_dim": 1536},
    "large": {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072},
    "ultra": {"num_layers": 36, "num_heads": 16, "hidden_dim": 1024, "intermediate_dim": 4096},
}

# The sizes of MoHETS' released code; a call forecasts 24 steps in each.
MOHETS_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "num_layers": 4,
        "num_heads": 4,
        "num_key_heads": 2,
        "hidden_dim": 64,
        "intermediate_dim": 128,
        "patch": 8,
    },
    "small": {
        "num_layers": 4,
        "num_heads": 4,
        "num_key_heads": 2,
        "hidden_dim": 128,
        "intermediate_dim": 256,
        "patch": 16,
    },
    "base": {
        "num_layers": 6,
        "num_heads": 8,
        "num_key_heads": 4,
        "hidden_dim": 256,
        "intermediate_dim": 512,
        "patch": 16,
    },
    "large": {
        "num_layers": 8,
        "num_heads": 12,
        "num_key_heads": 6,
        "hidden_dim": 384,
        "intermediate_dim": 768,
        "patch": 16,
    },
}
