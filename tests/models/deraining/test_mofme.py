from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import QUICKEST, in_mode
from moe_apps.layers.routing.trackers import RoutingTracker
from moe_apps.models.deraining import MoFMEBackbone, Restorer
from moe_apps.models.deraining.expert_path import ExpertPath

SMALL = {
    "head_channels": 4,
    "token_dim": 16,
    "num_heads": 2,
    "head_dim": 8,
    "tail_channels": (6, 4),
    "num_experts": 4,
}


def test_every_mode_gives_the_same_image(image, mode, lively):
    model = Restorer(lively(MoFMEBackbone(**SMALL)))
    expected = in_mode(model.explain, QUICKEST)(image)
    assert np.abs(expected["restored"] - image).mean() > 0.01
    found = in_mode(model.explain, mode)(image)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-3)


def test_k_experts_work_on_each_patch_and_the_router_says_how_unsure_it_is(image):
    outputs = in_mode(Restorer(MoFMEBackbone(**SMALL, k=3)).explain, QUICKEST)(image)
    assert outputs["routing"].shape == (2, 2, 3, 2, 4)
    assert (np.count_nonzero(outputs["routing"], axis=-1) == 3).all()
    np.testing.assert_allclose(outputs["routing"].sum(axis=-1), 1, atol=1e-5)
    assert outputs["uncertainty"].shape == (2, 2, 3) and (outputs["uncertainty"] > 0).all()


def test_routing_is_followed_layer_by_layer():
    model = MoFMEBackbone(**SMALL, num_layers=2)
    # Keras lists a layer's metrics once for every way that leads to it.
    trackers = {id(one): one for one in model.metrics if isinstance(one, RoutingTracker)}
    names = [tracker.name for tracker in trackers.values()]
    assert sorted(names) == ["experts_0_moe", "experts_1_moe"]


def test_the_uncertainty_is_the_spread_of_logits_under_dropout():
    path = ExpertPath(num_experts=3, k=2)
    tokens = np.random.default_rng(0).normal(size=(1, 5, 8)).astype("float32")
    path.build(tokens.shape)
    routing = path(tokens)[1]
    router, normed = path.moe.router, np.asarray(path.norm(tokens))
    kept = np.random.default_rng(1).random((20_000, 1, 5, 8)) >= router.rate
    logits = (normed * kept / (1 - router.rate)) @ np.asarray(router.kernel)
    expected = logits.var(axis=0).mean(axis=-1)
    np.testing.assert_allclose(np.asarray(routing["uncertainty"]), expected, rtol=0.05)


def test_a_mixture_of_modulations_is_what_the_formula_says():
    path = ExpertPath(num_experts=3, k=3, router="top_k")
    tokens = np.random.default_rng(0).normal(size=(1, 5, 8)).astype("float32")
    path.build(tokens.shape)
    out, routing = path(tokens)
    normed = path.norm(tokens)
    bank, weights = path.moe.experts, np.asarray(routing["weights"])[..., None]
    base = np.asarray(bank.prepare(normed))
    matrices = [np.asarray(weight) for weight in bank.stacked_weights]
    mixed = 0
    for expert in range(3):
        scale, scale_bias, shift, shift_bias = (matrix[expert] for matrix in matrices)
        modulated = (base @ scale + scale_bias) * base + base @ shift + shift_bias
        mixed = mixed + weights[..., expert, :] * modulated
    expected = path.narrow(path.widen(mixed))
    np.testing.assert_allclose(np.asarray(out), np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize("kind", ["ffn", "dense"])
def test_the_forms_it_is_compared_with_restore_too(image, kind):
    outputs = in_mode(Restorer(MoFMEBackbone(**SMALL, experts=kind)).explain, QUICKEST)(image)
    assert outputs["restored"].shape == image.shape
    assert ("routing" in outputs) == (kind == "ffn")


def test_without_residual_the_image_is_made_anew(image):
    model = MoFMEBackbone(**SMALL, residual=False)
    restored = in_mode(lambda x: model({"image": x})["restored"], QUICKEST)(image)
    assert (restored > 0).all() and (restored < 1).all()
    assert np.corrcoef(restored.ravel(), image.ravel())[0, 1] < 0.9


def test_a_saved_model_is_the_same_after_loading(image, tmp_path, lively):
    model = Restorer(lively(MoFMEBackbone(**SMALL)))
    expected = in_mode(model.restore, QUICKEST)(image)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(in_mode(loaded.restore, QUICKEST)(image), expected, atol=1e-6)


def test_a_training_step_reaches_every_weight(image):
    model = Restorer(MoFMEBackbone(**SMALL, k=4, balance_loss_weight=0.01))
    before = [np.asarray(variable) for variable in model.trainable_variables]
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mae")
    model.fit(image, np.flip(image, axis=1), epochs=2, verbose=0)
    still = [
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(np.asarray(variable), old)
    ]
    assert still == []
