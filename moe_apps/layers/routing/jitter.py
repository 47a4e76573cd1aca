"""Noise on the router's inputs."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def jittered(tokens: Any, jitter: float, seed: keras.random.SeedGenerator) -> Any:
    """Tokens times noise uniform in `[1 - jitter, 1 + jitter]`, drawn for each feature.

    Source: Fedus et al. 2021, "Switch Transformers", arXiv 2101.03961.
    """
    noise = keras.random.uniform(ops.shape(tokens), 1 - jitter, 1 + jitter, seed=seed)
    return tokens * noise
