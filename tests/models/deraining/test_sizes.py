"""Numbers of parameters: the published layouts, counted without allocating them."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from moe_apps.models.deraining import DRSformerBackbone, MoFMEBackbone, UNetBackbone
from moe_apps.models.deraining.sparse_transformer_block import SparseTransformerBlock


def size(make: Callable[[], keras.Model]) -> int:
    with keras.StatelessScope(initialize_variables=False):  # nothing is allocated
        model = make()
    sizes = [int(np.prod(v.shape, dtype="int64")) for v in model.trainable_variables]
    keras.backend.clear_session()  # or Keras gives the variables their values later on
    return sum(sizes)


@pytest.mark.parametrize("compensator, total", [(True, 33_655_424), (False, 32_610_304)])
def test_the_full_drsformer_has_the_published_size(compensator, total):
    assert size(lambda: DRSformerBackbone.from_preset("full", compensator=compensator)) == total


@pytest.mark.parametrize(
    "channels, total", [(48, 52_365), (96, 172_446), (192, 614_456), (384, 2_308_852)]
)
def test_a_block_has_the_published_size(channels, total):
    block = SparseTransformerBlock(channels // 48)
    with keras.StatelessScope(initialize_variables=False):
        block.build((None, None, None, channels))
    sizes = [int(np.prod(v.shape)) for v in block.trainable_variables]
    keras.backend.clear_session()
    assert sum(sizes) == total


@pytest.mark.parametrize(
    "preset, millions",
    [
        ("tiny", 0.334),
        pytest.param("mini", 0.846, marks=pytest.mark.slow),
        pytest.param("small", 1.68, marks=pytest.mark.slow),
        pytest.param("large", 8.90, marks=pytest.mark.slow),
    ],
)
def test_presets_for_cpus_have_the_sizes_they_are_told_to_have(preset, millions):
    digits = 3 if millions < 1 else 2
    assert round(size(lambda: DRSformerBackbone.from_preset(preset)) / 1e6, digits) == millions


def test_a_rounded_hidden_width_and_crossed_scales_change_what_they_say():
    def block(**settings):
        layer = SparseTransformerBlock(1, **settings)
        layer.build((None, None, None, 8))
        return layer

    plain = block()
    assert block(cross_scale=True).count_params() == plain.count_params()
    assert plain.feed_forward.hidden == 21 and block(multiple=8).feed_forward.hidden == 24


# The released code has a table of positions for 32 x 32 tokens that nothing reads and, in each
# expert of each layer, a layer normalisation; ours has neither.
POSITIONS, NORMALISATION = 32 * 32 * 384, 2 * 2 * 384


@pytest.mark.parametrize(
    "experts, ordinary, modulated",
    [
        (4, 15.85, 11.72),
        pytest.param(8, 25.32, 14.10, marks=pytest.mark.slow),
        pytest.param(16, 44.24, 18.85, marks=pytest.mark.slow),
        pytest.param(32, 82.09, 28.35, marks=pytest.mark.slow),
    ],
)
def test_mofme_and_its_ordinary_twin_have_the_sizes_of_the_released_code(
    experts, ordinary, modulated
):
    def millions(kind: str, unused_norms: int) -> float:
        ours = size(lambda: MoFMEBackbone.from_preset("full", experts=kind, num_experts=experts))
        return round((ours + POSITIONS + unused_norms * NORMALISATION) / 1e6, 2)

    # Where every expert normalises, the one normalisation that ours has is among them.
    assert millions("ffn", experts - 1) == ordinary
    assert millions("modulation", experts) == modulated


def test_mofme_without_experts_is_as_large_as_what_works_on_a_token():
    dim, k, layers = 64, 2, 2
    dense = MoFMEBackbone.from_preset("tiny", experts="dense", k=k).count_params()
    sparse = MoFMEBackbone.from_preset("tiny", num_experts=8, k=k).count_params()
    idle = layers * (8 - k) * (2 * dim**2 + 2 * dim)
    router, biases = layers * 8 * dim, layers * ((2 + 2 * k) * dim - (1 + k) * dim)
    assert dense == sparse - idle - router - biases


def test_a_u_net_of_equal_size_is_the_next_wider_one():
    wanted = DRSformerBackbone.from_preset("tiny").count_params()
    u_net = UNetBackbone.of_size(wanted)
    assert UNetBackbone(u_net.width - 1).count_params() < wanted <= u_net.count_params()
    assert u_net.count_params() < 1.2 * wanted
