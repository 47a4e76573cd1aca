"""Heads that say quantiles or a distribution: their losses, their order, in and out of models."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from keras_modes import QUICKEST, TENSORFLOW, array, in_mode
from moe_apps.models.forecasting import LinearMoE, MoHETS
from moe_apps.models.forecasting.heads import QuantileHead, StudentTHead, make_head
from moe_apps.models.forecasting.losses import ObservedPinball, ObservedStudentT
from moe_apps.models.forecasting.student_t import student_t_log_density, student_t_quantiles

LOOK_BACK, HORIZON = 20, 4
LEVELS = (0.05, 0.25, 0.5, 0.9)
PROBABILITIES = (0.1, 0.5, 0.8)
FREEDOM = np.array([2.01, 2.5, 4.0, 7.3, 30.0, 1e3, 1e5], "float32")


@pytest.fixture(params=["quantile", "student_t"])
def kind(request) -> str:
    return request.param


def head_of(kind: str, steps: int = 1):
    return make_head(kind, LEVELS, steps)


def raw_of(head, seed: int = 0, size: float = 3.0) -> np.ndarray:
    draw = np.random.default_rng(seed).normal
    return draw(scale=size, size=(50, HORIZON, head.numbers)).astype("float32")


def called(head, raw: np.ndarray, mode: str = QUICKEST) -> np.ndarray:
    """Of windows with means from -100 to 100 and deviations from 0.1 to 10."""
    centre = np.random.default_rng(9).normal(size=raw.shape[:2]).astype("float32")
    mean = np.linspace(-100, 100, len(raw), dtype="float32")[:, None]
    scale = np.geomspace(0.1, 10, len(raw), dtype="float32")[:, None]
    return in_mode(lambda *given: head(*given), mode)(centre, raw, mean, scale)


@pytest.mark.parametrize("tau", [0.05, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_pinball_is_least_at_the_quantile(tau, seed):
    targets = np.random.default_rng(seed).gamma(2.0, size=(1, 999)).astype("float32")
    loss = ObservedPinball([tau])

    def cost(guess):
        return float(loss(targets, np.full((1, 999, 1), guess, "float32")))

    best = np.quantile(targets, tau, method="inverted_cdf")
    for other in np.quantile(targets, [max(tau - 0.05, 0), tau - 0.02, tau + 0.02, tau + 0.05]):
        assert cost(best) < cost(other)


def test_likelihood_is_that_of_scipy(mode):
    z = np.linspace(-30, 30, 41, dtype="float32")[:, None]
    found = in_mode(student_t_log_density, mode)(z, np.broadcast_to(FREEDOM, (41, 7)).copy())
    np.testing.assert_allclose(found, stats.t.logpdf(z, FREEDOM), rtol=2e-5, atol=2e-5)


def test_quantiles_are_those_of_scipy(mode):
    asked = (0.005, 0.025, 0.1, 0.5, 0.75, 0.99)
    found = in_mode(lambda freedom: student_t_quantiles(asked, freedom), mode)(FREEDOM)
    expected = stats.t.ppf(asked, FREEDOM[:, None].astype("float64"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_loss_is_the_negative_likelihood_of_what_was_observed(mode):
    random = np.random.default_rng(0)
    targets = random.normal(5, 3, size=(6, HORIZON)).astype("float32")
    location = random.normal(5, 3, size=(6, HORIZON)).astype("float32")
    scale = random.uniform(0.2, 4, size=(6, HORIZON)).astype("float32")
    freedom = random.uniform(2.1, 20, size=(6, HORIZON)).astype("float32")
    expected = -stats.t.logpdf(targets, freedom, location, scale)
    gappy = targets.copy()
    gappy[[0, 3], [1, 2]] = np.nan
    outputs = np.stack([location, scale, freedom], axis=-1)
    found = in_mode(ObservedStudentT(), mode)(gappy, outputs)
    np.testing.assert_allclose(found, expected[np.isfinite(gappy)].mean(), rtol=1e-5)
    weighed = in_mode(ObservedStudentT(ahead=1, weight_behind=0.0), mode)(gappy, outputs)
    np.testing.assert_allclose(weighed, expected[:, -1].mean(), rtol=1e-5)


@pytest.mark.parametrize("size", [0.1, 3.0, 40.0])
def test_quantiles_never_cross(kind, size):
    head = head_of(kind)
    outputs = called(head, raw_of(head, size=size))
    asked = np.linspace(0.05, 0.9, 18)
    quantiles = array(head.quantiles(ops.convert_to_tensor(outputs), asked))
    assert np.isfinite(quantiles).all()
    # Rounding is all that may be between two of them where the spread is next to nothing.
    assert (np.diff(quantiles, axis=-1) >= -1e-4).all()
    if kind == "quantile":
        assert (np.diff(outputs, axis=-1) >= 0).all()
    else:
        assert (outputs[..., 1] > 0).all() and (outputs[..., 2] > 2).all()


def test_the_half_is_the_point(kind):
    head = head_of(kind)
    outputs = ops.convert_to_tensor(called(head, raw_of(head)))
    half = array(head.quantiles(outputs, [0.5]))[..., 0]
    np.testing.assert_allclose(half, array(head.point(outputs)), rtol=1e-6)


def test_between_its_levels_a_quantile_is_on_the_line_and_beyond_them_the_last():
    head = QuantileHead(LEVELS)
    outputs = ops.convert_to_tensor([[[1.0, 3.0, 4.0, 8.0]]])
    found = array(head.quantiles(outputs, [0.01, 0.05, 0.15, 0.7, 0.9, 0.99]))[0, 0]
    np.testing.assert_allclose(found, [1, 1, 2, 6, 8, 8], rtol=1e-6)


def test_a_head_starts_at_the_errors_of_the_first_forecast(kind):
    random = np.random.default_rng(0)
    errors = random.standard_t(5, size=(20_000, HORIZON)) * np.array([0.1, 0.5, 1.0, 3.0])
    errors[::7, 1] = np.nan
    errors[:, 2] = np.nan  # a step without any target keeps what a new head says
    head = head_of(kind, HORIZON)
    fresh = called(head, 0 * raw_of(head))[:, 2]
    head.start(errors)
    outputs = called(head, 0 * raw_of(head))
    np.testing.assert_allclose(outputs[:, 2], fresh, rtol=1e-5)
    levels = [0.05, 0.25, 0.9]
    found = array(head.quantiles(ops.convert_to_tensor(outputs), levels))
    scale = np.geomspace(0.1, 10, 50)[:, None]
    middle = array(head.point(ops.convert_to_tensor(outputs)))
    for step, width in ((0, 0.1), (1, 0.5), (3, 3.0)):
        offsets = (found[:, step] - middle[:, step, None]) / scale
        np.testing.assert_allclose(
            offsets, np.tile(width * stats.t.ppf(levels, 5), (50, 1)), rtol=0.15, atol=0.01
        )


def model_of(kind: str, number: int, **settings):
    """A linear MoE (0) or MoHETS (1) with weights large enough that all of them say something."""
    build = (
        lambda: LinearMoE(
            LOOK_BACK, HORIZON, season=6, num_experts=3, rank=2, gate_dim=4,
            head=kind, levels=LEVELS, **settings,
        ),
        lambda: MoHETS(
            LOOK_BACK, HORIZON, num_layers=1, num_heads=2, num_key_heads=1, hidden_dim=8, patch=4,
            intermediate_dim=8, num_experts=3, scaled_init=True, head=kind, levels=LEVELS,
            **settings,
        ),
    )[number]  # fmt: skip
    keras.utils.set_random_seed(1)
    model = build()
    draw = np.random.default_rng(1).normal
    for variable in model.trainable_variables:
        if len(variable.shape) > 1 and isinstance(model, LinearMoE):
            variable.assign(0.4 * draw(size=variable.shape))
    return model


@pytest.mark.parametrize(
    ("kind", "number", "horizon"),
    [
        ("student_t", 0, 6),
        ("quantile", 0, 3),
        pytest.param("quantile", 1, 3, marks=pytest.mark.slow),
    ],
)
def test_models_agree_in_every_mode_and_give_ordered_quantiles(
    kind, number, horizon, history, mode
):
    model = model_of(kind, number)
    asked = lambda x: model.quantiles(x, horizon, PROBABILITIES)  # noqa: E731
    found = in_mode(asked, mode)(history)
    assert found.shape == (2, horizon, 3) and (np.diff(found, axis=-1) > 0).all()
    if TENSORFLOW:
        np.testing.assert_allclose(found, array(asked(history)), rtol=1e-4, atol=1e-3)
    if mode == QUICKEST:
        forecast = in_mode(lambda x: model.forecast(x, horizon), mode)(history)
        np.testing.assert_allclose(found[..., 1], forecast, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_rolled_blocks_read_the_middle_of_those_before(history):
    model = model_of("student_t", 0)

    def quantiles(window, horizon):
        run = in_mode(lambda x: model.quantiles(x, horizon, PROBABILITIES), QUICKEST)
        return run(window)

    first = quantiles(history, HORIZON)
    window = np.concatenate([history, first[..., 1]], axis=1)[:, HORIZON:]
    expected = np.concatenate([first, quantiles(window, HORIZON)], axis=1)
    np.testing.assert_allclose(quantiles(history, 8), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("quantile", 0),
        pytest.param("student_t", 0, marks=pytest.mark.slow),
        pytest.param("quantile", 1, marks=pytest.mark.slow),
        pytest.param("student_t", 1, marks=pytest.mark.slow),
    ],
)
def test_a_file_brings_the_head_back(kind, number, history, tmp_path):
    model = model_of(kind, number)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert loaded.get_config() == model.get_config() and type(loaded.spread) is type(model.spread)
    run = [in_mode(lambda x, m=m: m.quantiles(x, 4, [0.2]), QUICKEST) for m in (model, loaded)]
    np.testing.assert_allclose(run[1](history), run[0](history), rtol=1e-6)


@pytest.mark.parametrize("kind", ["student_t", pytest.param("quantile", marks=pytest.mark.slow)])
def test_training_finds_which_regime_is_uncertain(kind):
    """Noise is ten times as large where the calendar says so; no forecast is better than 0."""
    random = np.random.default_rng(0)
    values = random.normal(size=(512, LOOK_BACK)).astype("float32")
    marks = np.zeros((512, LOOK_BACK + HORIZON, 1), "float32")
    marks[::2, LOOK_BACK] = 1.0
    size = np.where(marks[:, LOOK_BACK] > 0, 2.0, 0.2)
    targets = values.mean(axis=1, keepdims=True) + size * random.normal(size=(512, HORIZON))
    targets = targets.astype("float32")
    targets[5, 2] = np.nan
    keras.utils.set_random_seed(0)
    model = LinearMoE(
        LOOK_BACK, HORIZON, known_features=1, num_experts=4, rank=2, head=kind, levels=LEVELS
    )
    model.start_from(np.zeros((LOOK_BACK, HORIZON)))
    model.compile(
        keras.optimizers.Adam(0.03), {"forecast": model.spread.loss()}, jit_compile=not TENSORFLOW
    )
    inputs = {"values": values, "known": marks}
    losses = model.fit(inputs, {"forecast": targets}, epochs=12, batch_size=64, verbose=0)
    assert losses.history["loss"][-1] < losses.history["loss"][0] - 0.02
    run = in_mode(lambda x, m: model.quantiles(x, HORIZON, [0.25, 0.9], known=m), QUICKEST)
    low, high = np.moveaxis(run(values, marks), -1, 0)
    width = (high - low).mean(axis=1)
    assert width[::2].mean() > 3 * width[1::2].mean()
    inside = ((low <= targets) & (targets <= high))[np.isfinite(targets)].mean()
    assert 0.55 < inside < 0.75  # 65 %


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="`head` must be one of point, quantile, student_t"):
        make_head("normal")
    for levels in ((0.1, 0.9), (0.5, 0.1), (0.5,), (0.0, 0.5)):
        with pytest.raises(ValueError, match="`levels` must ascend between 0 and 1"):
            QuantileHead(levels)
    with pytest.raises(ValueError, match="forecasts no quantiles"):
        LinearMoE(LOOK_BACK, HORIZON).quantiles(np.zeros((1, LOOK_BACK), "float32"), 2, [0.5])


@pytest.mark.parametrize("made", [QuantileHead(LEVELS, steps=3), StudentTHead()])
def test_heads_and_losses_round_trip(made):
    for one in (made, made.loss(ahead=2, weight_behind=0.5)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(one))
        assert again.get_config() == one.get_config()
