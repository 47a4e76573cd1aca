"""Sizes of the deraining models, by name."""

from __future__ import annotations

from typing import Any

# `full` is the paper's; the others are ours, for CPUs.
DRSFORMER_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 8, "blocks": (1, 1, 1, 1)},
    "mini": {"width": 12, "blocks": (1, 1, 1, 2)},
    "small": {"width": 16, "blocks": (2, 2, 2, 2)},
    "medium": {"width": 24, "blocks": (2, 3, 3, 4)},
    "large": {"width": 32, "blocks": (2, 3, 3, 4)},
    "full": {"width": 48, "blocks": (4, 6, 6, 8)},
}

# `full` is that of the released code; the others are ours.
MOFME_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "head_channels": 12,
        "token_dim": 64,
        "num_heads": 4,
        "head_dim": 16,
        "tail_channels": (12, 8),
    },
    "small": {
        "head_channels": 16,
        "token_dim": 128,
        "num_heads": 4,
        "head_dim": 32,
        "tail_channels": (24, 16),
    },
    "full": {
        "head_channels": 32,
        "token_dim": 384,
        "num_heads": 8,
        "head_dim": 64,
        "tail_channels": (128, 64),
    },
}
