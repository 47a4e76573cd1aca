"""Sizes of the acoustic networks, by name."""

from __future__ import annotations

from typing import Any

# resnet18 is that of the released code; the others are ours, for CPUs.
RESNET_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"widths": (8, 16), "blocks": (1, 1), "stem_kernel": 3, "stem_pool": True},
    "small": {"widths": (16, 32, 64), "blocks": (1, 1, 1), "stem_kernel": 5, "stem_pool": False},
    "resnet18": {
        "widths": (64, 128, 256, 512),
        "blocks": (2, 2, 2, 2),
        "stem_kernel": 7,
        "stem_pool": True,
    },
}
