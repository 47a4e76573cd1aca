from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import QUICKEST, TENSORFLOW, in_mode
from moe_apps.models.deraining import DRSformerBackbone, Restorer
from moe_apps.models.deraining.feature_compensator import FeatureCompensator
from moe_apps.models.deraining.mixed_scale_ffn import MixedScaleFeedForward
from moe_apps.models.deraining.resampling import DepthToSpace, SpaceToDepth
from moe_apps.models.deraining.sparse_channel_attention import SparseChannelAttention


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(2, 8, 8, 12)).astype("float32")


# === Attention ===


def by_hand(layer: SparseChannelAttention, query: np.ndarray, key: np.ndarray) -> np.ndarray:
    """The mixed matrices, one row at a time."""
    batch, _, heads, width = query.shape
    total = np.zeros((batch, heads, width, width))
    for b, h, c in np.ndindex(batch, heads, width):
        q = query[b, :, h, c] / np.linalg.norm(query[b, :, h, c])
        row = [q @ (k / np.linalg.norm(k)) for k in key[b, :, h].T]
        for weight, (part, whole) in zip((0.2,) * 4, layer.kept, strict=True):
            kept = np.argsort(row)[::-1][: int(np.floor(width * part / whole))]
            powers = np.exp(np.array(row)[kept])
            total[b, h, c, kept] += weight * powers / powers.sum()
    return total


def test_every_channel_attends_to_its_strongest_channels(features):
    layer = SparseChannelAttention(num_heads=2)
    layer.build(features.shape)
    query, key = np.random.default_rng(0).normal(size=(2, 2, 30, 2, 6)).astype("float32")
    links = in_mode(layer.links, QUICKEST)(query, key)
    np.testing.assert_allclose(links, by_hand(layer, query, key), atol=1e-5)
    assert (np.count_nonzero(links, axis=-1) == 6 * 4 // 5).all()


def test_kept_counts_are_those_of_the_paper():
    for channels, counts in ((48, [24, 32, 36, 38]), (96, [48, 64, 72, 76])):
        layer = SparseChannelAttention(num_heads=1)
        layer.build((None, None, None, channels))
        assert layer.counts == counts


def test_an_image_of_one_colour_gives_finite_gradients():
    layer = SparseChannelAttention(num_heads=1)
    layer.build((None, 8, 8, 4))
    flat = np.zeros((1, 8, 8, 4), "float32")
    assert np.isfinite(in_mode(layer, QUICKEST)(flat)).all()


def test_attention_survives_half_precision_on_large_features(features):
    layer = SparseChannelAttention(num_heads=2, dtype="mixed_float16")
    out = in_mode(layer, QUICKEST)(200 * features.astype("float16"))
    assert np.isfinite(out.astype("float32")).all()


# === Feed-forward and resampling ===


def test_scales_meet_before_the_end_only_when_they_are_crossed(features):
    """What the 5 x 5 kernels of the first round make reaches a pair with the 3 x 3's or not."""

    def first_half_depends_on_five(cross_scale: bool) -> bool:
        keras.utils.set_random_seed(0)
        layer = MixedScaleFeedForward(cross_scale=cross_scale)
        layer.build(features.shape)
        paired = []
        original = layer._pairs
        layer._pairs = lambda x: paired.append(original(x)) or paired[-1]
        layer(features)
        before = np.asarray(paired[0])[..., : layer.hidden // 2]
        layer.first_5.kernel.assign(layer.first_5.kernel * 0)
        paired.clear()
        layer(features)
        return not np.allclose(before, np.asarray(paired[0])[..., : layer.hidden // 2])

    assert first_half_depends_on_five(True)
    assert not first_half_depends_on_five(False)


def test_depth_to_space_undoes_space_to_depth(features):
    folded = SpaceToDepth()(features)
    np.testing.assert_array_equal(np.asarray(folded)[:, 0, 0, :12], features[:, 0, 0])
    np.testing.assert_array_equal(np.asarray(folded)[:, 0, 0, 12:24], features[:, 0, 1])
    np.testing.assert_array_equal(np.asarray(DepthToSpace()(folded)), features)


# === Compensator ===


def test_the_compensator_is_the_layer_of_the_library_by_default(features):
    layer = FeatureCompensator(steps=2)
    parent = super(FeatureCompensator, layer)
    layer.build(features.shape)
    expected = in_mode(lambda x: parent.call(x), QUICKEST)(features)
    np.testing.assert_allclose(in_mode(layer, QUICKEST)(features), expected, atol=1e-6)


def test_k_operations_keep_a_weight(features):
    layer = FeatureCompensator(k=3, steps=2)
    layer.build(features.shape)
    weights = in_mode(lambda x: layer(x, return_routing=True)[1]["weights"], QUICKEST)(features)
    assert (np.count_nonzero(weights, axis=-1) == 3).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)


def test_a_spatial_gate_weighs_by_place(features):
    layer = FeatureCompensator(spatial=True, steps=1)
    wide = np.concatenate([features, 5 * features[:, :, ::-1]], axis=2)  # (2, 8, 16, 12)
    layer.build(wide.shape)
    _, routing = in_mode(lambda x: layer(x, return_routing=True), QUICKEST)(wide)
    assert routing["weights"].shape == (2, 1, 2, 1, 8)
    assert not np.allclose(routing["weights"][:, 0, 0], routing["weights"][:, 0, 1])


def test_equal_weights_everywhere_are_the_same_by_place(features):
    layer = FeatureCompensator(steps=2)
    layer.build(features.shape)
    weights = np.random.default_rng(0).dirichlet(np.ones(8), size=(2, 2)).astype("float32")
    run = in_mode(lambda x, weights: layer(x, weights=weights), QUICKEST)
    spread = np.broadcast_to(weights[:, None, None], (2, 1, 1, 2, 8))
    np.testing.assert_allclose(run(features, weights), run(features, spread), atol=1e-5)


def test_the_balance_loss_is_one_when_all_weights_are_equal_and_pulls_the_gate(features):
    layer = FeatureCompensator(balance_loss_weight=0.5, steps=2)
    layer.build(features.shape)
    layer.gate_output.kernel.assign(layer.gate_output.kernel * 0)
    layer(features, training=True)
    assert float(layer.losses[0]) == pytest.approx(0.5)
    layer.gate_output.bias.assign(np.eye(16)[0] * 20)  # all to one operation in the first step
    layer(features, training=True)
    assert float(layer.losses[-1]) == pytest.approx(0.5 * (8 + 1) / 2, rel=1e-3)


def test_the_dense_twin_has_no_gate_and_equal_weights(features):
    layer = FeatureCompensator(gated=False, steps=2)
    layer.build(features.shape)
    gate = 12 * 32 + 32 + 32 * 16 + 16
    assert layer.count_params() == _built(FeatureCompensator(steps=2), features) - gate
    _, routing = layer(features, return_routing=True)
    assert np.asarray(routing["weights"]) == pytest.approx(1 / 8)


def _built(layer: keras.layers.Layer, features: np.ndarray) -> int:
    layer.build(features.shape)
    return layer.count_params()


# === The whole ===


def test_every_mode_gives_the_same_image(image, mode, lively):
    model = Restorer(lively(DRSformerBackbone.from_preset("tiny", width=4, steps=2)))
    expected = in_mode(model.restore, QUICKEST)(image)
    assert np.abs(expected - image).mean() > 0.01
    np.testing.assert_allclose(in_mode(model.restore, mode)(image), expected, atol=2e-4)


def test_weights_of_the_whole_image_serve_its_tiles(image, lively):
    model = Restorer(lively(DRSformerBackbone(width=4, blocks=(1, 1, 1, 1), steps=2)))
    explain = in_mode(model.explain, QUICKEST)
    whole = explain(image)
    assert whole["routing"].shape == (2, 4, 8)
    with_own = in_mode(model.restore, QUICKEST)(image, whole["routing"])
    np.testing.assert_allclose(with_own, whole["restored"], atol=1e-5)
    other = np.zeros_like(whole["routing"])
    other[..., 2] = 1
    assert not np.allclose(in_mode(model.restore, QUICKEST)(image, other), with_own, atol=1e-3)


def test_a_saved_model_is_the_same_after_loading(image, tmp_path, lively):
    settings = {"k": 4, "cross_scale": True, "steps": 1}
    model = Restorer(lively(DRSformerBackbone(width=4, blocks=(1, 1, 1, 1), **settings)))
    expected = in_mode(model.restore, QUICKEST)(image)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.backbone.get_config() == model.backbone.get_config()
    np.testing.assert_allclose(in_mode(loaded.restore, QUICKEST)(image), expected, atol=1e-6)


def test_a_training_step_reaches_every_weight(image):
    model = Restorer(DRSformerBackbone(width=4, blocks=(1, 1, 1, 1), steps=1))
    # At the start the output's kernel is 0, and only it has a gradient.
    output = model.backbone.get_layer("output").kernel
    output.assign(keras.random.normal(output.shape, stddev=0.1, seed=0))
    before = [np.array(variable) for variable in model.trainable_variables]
    # Adam's steps are of one size, however small a gradient is.
    optimizer = keras.optimizers.Adam(0.01, epsilon=1e-12)
    model.compile(optimizer, loss="mae", run_eagerly=TENSORFLOW)  # one step: not worth compiling
    model.fit(image, np.flip(image, axis=1), epochs=1, verbose=0)
    still = [
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(np.array(variable), old)
    ]
    assert still == []


def test_mixed_precision_gives_a_float32_image(image):
    model = Restorer(
        DRSformerBackbone(width=4, blocks=(1, 1, 1, 1), steps=1, dtype="mixed_bfloat16")
    )
    restored = in_mode(model, QUICKEST)(image)
    assert restored.dtype == np.float32 and np.isfinite(restored).all()


@pytest.mark.parametrize("settings, words", [({"blocks": (1, 1)}, "four"), ({"k": 9}, "1 to 8")])
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        DRSformerBackbone(**{"width": 4, "blocks": (1, 1, 1, 1), **settings})


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(ValueError, match="tiny, mini"):
        DRSformerBackbone.from_preset("huge")


def test_the_gate_follows_the_image(image, lively):
    model = Restorer(lively(DRSformerBackbone(width=4, blocks=(1, 1, 1, 1))))
    routing = ops.convert_to_numpy(model.explain(np.stack([image[0], 1 - image[0]]))["routing"])
    np.testing.assert_allclose(routing.sum(axis=-1), 1, atol=1e-5)
    assert not np.allclose(routing[0], routing[1])
