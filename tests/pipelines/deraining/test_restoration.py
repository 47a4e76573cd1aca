from __future__ import annotations

import numpy as np
import pytest

from moe_apps.errors import ConfigError
from moe_apps.models.deraining import DRSformerBackbone, Restorer
from moe_apps.pipelines.deraining.config import DerainingConfig, PredictionSettings
from moe_apps.pipelines.deraining.metrics import to_8_bit
from moe_apps.pipelines.deraining.restoration import ImageRestorer, answers, build_model

TILES = PredictionSettings(tile=32, overlap=8, whole_megapixels=0.002)


@pytest.fixture(scope="module")
def model() -> Restorer:
    """A DRSformer whose gates depend on the image and whose output is not the image."""
    model = Restorer(DRSformerBackbone(width=4, blocks=(1, 1, 1, 1), steps=1))
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if len(variable.shape) > 1:
            strong = "gate" in variable.path or variable.path.endswith("output/kernel")
            large = 3.0 if strong else 0.4
            scale = large / np.sqrt(np.prod(variable.shape[:-1]))
            variable.assign(scale * random.normal(size=variable.shape))
    return model


def test_a_small_image_goes_in_one_piece(model, draw):
    image = draw(0, 21, 30)
    restorer = ImageRestorer(model, TILES)
    assert restorer.tiles(image) == 1
    mirrored = np.pad(image, ((0, 3), (0, 2), (0, 0)), mode="reflect")[None] / np.float32(255)
    expected = np.asarray(model.restore(mirrored))[0, :21, :30]
    np.testing.assert_allclose(restorer.restore(image), expected, atol=1e-5)
    assert np.abs(expected - image / 255).mean() > 0.01
    np.testing.assert_array_equal(answers(restorer)(image), to_8_bit(expected))


def test_every_tile_gets_the_gates_of_the_whole_image(model, draw):
    image = draw(0, 64, 80)
    restorer, given = ImageRestorer(model, TILES), []
    gates = restorer.whole_routing(image)
    assert gates.shape == (1, 2, 8)
    restore = restorer._restore
    restorer._restore = lambda tile, routing: given.append(routing) or restore(tile, routing)
    restorer.restore(image)
    assert len(given) == restorer.tiles(image) > 1
    for routing in given:
        np.testing.assert_array_equal(routing, gates)
    dark = restorer.whole_routing(image // 4)
    assert not np.allclose(dark, gates, atol=1e-4)


def test_large_images_differ_little_from_one_piece_and_have_no_seam(model, draw):
    image = draw(0, 96, 96)
    tiled = ImageRestorer(model, TILES.model_copy(update={"tile": 64, "overlap": 24}))
    whole = ImageRestorer(model, PredictionSettings())
    difference = tiled.restore(image) - whole.restore(image)
    steps = np.abs(np.diff(difference, axis=1))
    assert steps.max() < 0.1


def test_comparison_models_follow_the_settings():
    small = {"name": "mofme", "num_experts": 4}
    config = DerainingConfig(domain="deraining", model=small)
    model = build_model(config)
    assert build_model(config, "u_net").count_params() >= model.count_params()
    assert build_model(config, "dense_twin").backbone.experts == "dense"


def test_a_router_that_is_unknown_is_a_mistake_of_the_settings():
    config = DerainingConfig(domain="deraining", model={"name": "mofme", "router": "nobody"})
    with pytest.raises(ConfigError, match="nobody"):
        build_model(config)
