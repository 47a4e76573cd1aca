"""Our versions of tensorflow-addons give its numbers, and work wherever Keras does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import TENSORFLOW, array
from moe_apps.layers import addons

REFERENCE = json.loads((Path(__file__).parents[1] / "parity" / "reference.json").read_text())
SAME = {"rtol": 1e-5, "atol": 1e-6}


def made(case: dict[str, Any], **more: Any) -> Any:
    """Our object of the class and settings of a case."""
    settings = {**case["settings"], **more}
    if isinstance(settings.get("optimizer"), list):
        name, inner = settings["optimizer"]
        cls = getattr(addons, name, None) or getattr(keras.optimizers, name)
        settings["optimizer"] = cls(**inner)
    return getattr(addons, case["class"])(**settings)


def of(*keys: str) -> Any:
    """All cases of a part of the reference, named by class and settings."""
    cases: Any = REFERENCE
    for key in keys:
        cases = cases[key]

    def name(case: dict[str, Any]) -> str:
        return f"{case.get('class') or case['layer']}-{case.get('settings', case.get('data_init'))}"

    return pytest.mark.parametrize("case", cases, ids=name)


# === The numbers of tensorflow-addons ===


@of("losses")
def test_losses(case):
    loss = made(case, reduction="none")
    values = loss(ops.array(case["y_true"]), ops.array(case["y_pred"]))
    np.testing.assert_allclose(array(values), case["expected"], **SAME)
    mean = made(case)(ops.array(case["y_true"]), ops.array(case["y_pred"]))
    assert float(mean) == pytest.approx(np.mean(case["expected"]), rel=1e-5)


@of("metrics")
def test_metrics_over_several_updates(case):
    metric = made(case)
    for update in case["updates"]:
        weight = update["sample_weight"]
        metric.update_state(
            np.array(update["y_true"]),
            np.array(update["y_pred"]),
            sample_weight=None if weight is None else np.array(weight),
        )
        assert float(metric.result()) == pytest.approx(update["expected"], rel=1e-5, abs=1e-6)


@of("optimizers", "cases")
def test_optimizers_step_by_step(case):
    optimizer = made(case)
    variables = [keras.Variable(np.array(v, "float32")) for v in REFERENCE["optimizers"]["start"]]
    optimizer.build(variables)
    start = [array(v) for v in variables]
    for gradients, expected in zip(
        REFERENCE["optimizers"]["gradients"], case["expected"], strict=True
    ):
        optimizer.apply([ops.array(g, "float32") for g in gradients])
        for variable, value in zip(variables, expected, strict=True):
            np.testing.assert_allclose(array(variable), value, rtol=1e-5, atol=2e-6)
    assert all((one != array(two)).any() for one, two in zip(start, variables, strict=True))


@of("weight_normalization")
def test_weight_normalization_in_training(case):
    name, settings = case["layer"]
    layer = getattr(keras.layers, name)(**settings)
    x = np.array(case["x"], "float32")
    layer.build(x.shape)
    layer.set_weights([np.array(w) for w in case["weights"]])
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), addons.WeightNormalization(layer, data_init=case["data_init"])]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=not TENSORFLOW)
    for step, expected in enumerate(case["outputs"]):
        if step or not case["data_init"]:  # before the first step nothing is known of the data
            np.testing.assert_allclose(array(model(x)), expected, **SAME)
        loss = model.train_on_batch(x, np.full(np.shape(expected), 0.5, "float32"))
        first = np.mean((np.array(expected) - 0.5) ** 2)
        assert float(loss) == pytest.approx(first, rel=1e-4)


# === Where tensorflow-addons is silent ===


def network(*layers: keras.layers.Layer, loss: Any = None, **settings: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])
    model.compile(loss=loss or addons.PinballLoss([0.1, 0.5, 0.9]), **settings)
    return model


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(32, 4)).astype("float32")
    return x, np.repeat(x[:, :1] + 0.1 * random.normal(size=(32, 1)), 3, 1).astype("float32")


def everything(optimizer: Any = None) -> keras.Model:
    """A model with all of it, compiled with XLA."""
    warm = addons.RectifiedAdam(0.1, weight_decay=0.01, total_steps=80, min_lr=0.01)
    return network(
        addons.WeightNormalization(keras.layers.Dense(8, activation="relu")),
        optimizer=optimizer or addons.Lookahead(warm, sync_period=3),
        metrics=[addons.CohenKappa(3), addons.MatthewsCorrelationCoefficient(3)],
        jit_compile=True,
    )


def test_a_compiled_model_learns_and_goes_on_after_loading(data, tmp_path):
    model = everything()
    results = [model.train_on_batch(*data) for _ in range(60)]
    assert np.isfinite(results).all()
    assert results[-1][0] < 0.5 * results[0][0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    assert again.loss.get_config() == model.loss.get_config()
    np.testing.assert_array_equal(array(again(data[0])), array(model(data[0])))
    losses = [float(m.train_on_batch(*data)[0]) for m in (model, again) for _ in range(4)]
    np.testing.assert_allclose(losses[:4], losses[4:], rtol=1e-4)


@pytest.mark.parametrize("name", ["CohenKappa", "MatthewsCorrelationCoefficient"])
def test_metrics_say_0_where_nothing_can_be_said(name):
    metric = getattr(addons, name)(3)
    assert float(metric.result()) == 0
    one_class = np.eye(3)[[1, 1]]
    metric.update_state(one_class, one_class)
    assert float(metric.result()) == 0
    metric.update_state(np.eye(3), np.eye(3))
    assert float(metric.result()) == pytest.approx(1)
    metric.reset_state()
    assert float(metric.result()) == 0
    assert type(metric).from_config(metric.get_config()).get_config() == metric.get_config()


def test_flat_targets_meet_predictions_of_one_column():
    flat, column = np.array([1.0, 0.0, 1.0]), np.array([[0.9], [0.2], [0.4]])
    for loss in (addons.PinballLoss(0.2), addons.SigmoidFocalCrossEntropy()):
        assert float(loss(flat, column)) == pytest.approx(float(loss(flat[:, None], column)))


def test_focal_loss_of_wrong_certainty_is_finite():
    loss = addons.SigmoidFocalCrossEntropy(reduction="none")
    values = array(loss(np.array([[1.0], [0.0], [1.0]]), np.array([[0.0], [1.0], [1.0]])))
    assert np.isfinite(values).all() and values[0] > 3 and values[2] < 1e-6


def test_the_rectification_is_exact_from_the_first_step():
    """Against float64; float32 arithmetic of the formula as it stands is off by up to 100 %."""
    optimizer = addons.RectifiedAdam(beta_2=0.999)
    step = np.array([1, 2, 5, 6, 50, 499, 500, 501, 3000, 10**6], "float64")
    power = 0.999**step
    expected = 1999 - 2 * step * power / (1 - power)
    length = array(optimizer.sma_length(ops.array(step, "float32")))
    np.testing.assert_allclose(length, expected, rtol=1e-5)
    inside = np.maximum(expected, 4)
    factor = np.sqrt((inside - 4) * (inside - 2) * 1999 / (1995 * 1997 * inside))
    np.testing.assert_allclose(
        array(optimizer.rectification(ops.array(length))), factor, rtol=1e-4, atol=1e-6
    )


def test_lookahead_starts_from_weights_loaded_after_its_build():
    variable = keras.Variable(np.zeros(2, "float32"))
    optimizer = addons.Lookahead(keras.optimizers.SGD(1.0), sync_period=2)
    optimizer.build([variable])
    variable.assign(np.array([4.0, 8.0], "float32"))
    for expected in ([3, 7], [3, 7], [2, 6], [2, 6]):  # one forward, one forward and one back
        optimizer.apply([ops.ones(2)])
        np.testing.assert_allclose(array(variable), expected, rtol=1e-6)


def test_the_learning_rate_within_lookahead_can_be_set():
    optimizer = addons.Lookahead("sgd")
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == float(optimizer.optimizer.learning_rate) == 0.25


def test_weight_normalization_leaves_a_layer_what_it_was_and_can_be_removed(data):
    layer = keras.layers.Dense(3)
    before = array(layer(data[0]))
    wrapped = addons.WeightNormalization(layer, data_init=False)
    np.testing.assert_allclose(array(wrapped(data[0])), before, **SAME)
    wrapped.g.assign(2 * wrapped.g)
    np.testing.assert_allclose(array(wrapped(data[0])), 2 * before, **SAME)
    assert len(wrapped.trainable_variables) == 3
    np.testing.assert_allclose(array(wrapped.remove()(data[0])), 2 * before, **SAME)
    layer.trainable = False
    assert wrapped(data[0]).shape == (32, 3)


def test_data_is_looked_at_once_and_in_training_only(data):
    wrapped = addons.WeightNormalization(keras.layers.Dense(3, kernel_initializer="orthogonal"))
    untouched = array(wrapped(data[0]))
    np.testing.assert_array_equal(array(wrapped(data[0], training=False)), untouched)
    first = array(wrapped(data[0], training=True))
    # Columns of length 1: only then does the formula make outputs standard.
    np.testing.assert_allclose(first.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(first.std(0), 1, atol=1e-5)
    np.testing.assert_allclose(array(wrapped(data[0])), first, **SAME)
    wrapped(5 * data[0], training=True)
    np.testing.assert_allclose(array(wrapped(data[0])), first, **SAME)


@pytest.mark.skipif(not TENSORFLOW, reason="JAX has no sparse gradients")
def test_rectified_adam_takes_the_gradients_of_embeddings():
    model = keras.Sequential([keras.Input((2,), dtype="int32"), keras.layers.Embedding(5, 3)])
    model.compile(addons.Lookahead(addons.RectifiedAdam(0.1, amsgrad=True), 2), "mse")
    x, y = np.array([[0, 1], [1, 3]]), np.ones((2, 2, 3))
    losses = model.fit(x, y, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: addons.PinballLoss(1.5), "`tau` must be in"),
        (lambda: addons.SigmoidFocalCrossEntropy(gamma=-1), "`gamma` must be at least 0"),
        (lambda: addons.SigmoidFocalCrossEntropy(alpha=2), "`alpha` must be in"),
        (lambda: addons.CohenKappa(1), "`num_classes` must be at least 2"),
        (lambda: addons.CohenKappa(3, weightage="cubic"), "`weightage` must be"),
        (lambda: addons.RectifiedAdam(beta_2=0.5), "`beta_2` must be in"),
        (lambda: addons.RectifiedAdam(beta_1=1.0), "`beta_1` must be in"),
        (lambda: addons.Lookahead("sgd", sync_period=0), "`sync_period` must be at least 1"),
        (lambda: addons.Lookahead("sgd", slow_step_size=0), "`slow_step_size` must be in"),
        (lambda: addons.WeightNormalization(keras.layers.LSTM(2)), "need `data_init=False`"),
        (lambda: addons.WeightNormalization(keras.layers.ReLU(), False).build((1, 2)), "`kernel`"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
