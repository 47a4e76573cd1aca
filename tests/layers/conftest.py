from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from keras_modes import LAYER_MODES
from moe_apps.layers import MoE, Router, RouterInputs, SwiGLU, SwiGLUExperts, TopK


@keras.saving.register_keras_serializable(package="tests")
class ByFirstFeatures(Router):
    """Sends a token to the experts that its first two features name, with weights 0.7 and 0.3."""

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return keras.ops.cast(inputs.tokens[:, :2], "int32")

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        weights = super().weigh(logits, probabilities, indices, inputs)
        return keras.ops.zeros_like(weights) + keras.ops.convert_to_tensor([[0.7, 0.3]])


@pytest.fixture(params=LAYER_MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tokens() -> np.ndarray:
    """`(batch, time, features)` of 24 tokens."""
    return np.random.default_rng(0).normal(size=(3, 8, 6)).astype("float32")


@pytest.fixture
def make_moe() -> Callable[..., MoE]:
    """Makes equal layers: one seed, four SwiGLU experts, router losses on unless said."""

    def make(
        dispatch: Any = "dropless",
        num_experts: int = 4,
        k: int = 2,
        dtype: str = "float32",
        shared: bool = False,
        router: Router | None = None,
        features: int = 6,
        **router_settings: Any,
    ) -> MoE:
        router_settings = {"balance_loss_weight": 0.1, "z_loss_weight": 0.01, **router_settings}
        layer = MoE(
            router or TopK(k, kernel_initializer=glorot(1), **router_settings),
            SwiGLUExperts(num_experts, 5, kernel_initializer=glorot(2), dtype=dtype),
            shared=SwiGLU(5, gated=True, kernel_initializer=glorot(3), dtype=dtype)
            if shared
            else None,
            dispatch=dispatch,
            dtype=dtype,
            name="moe",
        )
        layer.build((None, None, features))
        return layer

    return make


@pytest.fixture
def router_by_name() -> Callable[..., Router]:
    return ByFirstFeatures


def glorot(seed: int) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(seed=seed)
