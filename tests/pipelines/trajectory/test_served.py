from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from moe_apps.models.trajectory import LSTMEncoder, TrajectoryModel, tmmoe
from moe_apps.pipelines.trajectory.served import served_model

SIZES = {"history_steps": 8, "horizon": 5, "rate": 5.0, "velocity_span": 2}


def strong(model: TrajectoryModel) -> TrajectoryModel:
    """The model with weights large enough for its inputs to matter."""
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        if len(variable.shape) > 1:
            variable.assign(0.3 * rng.normal(size=variable.shape))
    return model


@pytest.fixture(scope="module")
def model() -> TrajectoryModel:
    return strong(tmmoe("tiny", channels=6, expert_dim=5, head_dim=4, **SIZES))


@pytest.fixture(scope="module")
def signatures(model):
    example = {name: np.asarray(value) for name, value in model.example().items()}
    return served_model(model, example=example, card={"system": "tmmoe"})


def tracks(rows: int = 4) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(0)
    way = np.array([300.0, 7.0]) + np.cumsum(rng.normal([4.0, 0.0], 0.3, (rows, 8, 2)), axis=1)
    inputs = {
        "ego": way,
        "neighbours": way[:, :, None] + rng.normal(0, 20, (rows, 8, 6, 2)),
        "present": rng.random((rows, 8, 6)) < 0.6,
        "lane_offset": rng.normal(0, 0.5, (rows, 8)),
        "lanes_beside": rng.random((rows, 8, 2)) < 0.5,
        "length": rng.uniform(4, 12, rows),
    }
    return {name: tf.constant(values.astype("float32")) for name, values in inputs.items()}


def test_answers_are_the_models_in_the_callers_frame(model, signatures):
    inputs = tracks()
    answer = signatures.signatures["serving_default"](**inputs)
    outputs = model(inputs)
    origin = inputs["ego"][:, -1].numpy()
    modes = np.stack([outputs["longitudinal"], outputs["lateral"]], axis=-1)
    np.testing.assert_allclose(answer["modes"], modes + origin[:, None, None], atol=1e-3)
    np.testing.assert_allclose(np.sum(answer["probability"], axis=-1), 1, atol=1e-5)
    mixed = np.einsum("bm,bmhc->bhc", answer["probability"], answer["modes"])
    np.testing.assert_allclose(answer["forecast"], mixed, atol=1e-2)
    assert set(answer) == {"forecast", "modes", "probability", "deviation", "correlation"}


def test_explain_adds_the_gates(signatures):
    answer = signatures.signatures["explain"](**tracks())
    assert answer["gates"].shape == (4, 3, 3)
    np.testing.assert_allclose(np.sum(answer["gates"], axis=-1), 1, atol=1e-5)


def test_moving_the_frame_moves_the_answer(signatures):
    inputs, moved = tracks(), tracks()
    shift = tf.constant([-120.0, 33.0])
    moved["ego"] += shift
    moved["neighbours"] += shift
    one, two = (signatures.signatures["serving_default"](**x) for x in (inputs, moved))
    np.testing.assert_allclose(two["forecast"], one["forecast"] + shift, atol=2e-2)
    np.testing.assert_allclose(two["probability"], one["probability"], atol=2e-3)


def test_a_vehicle_alone_is_as_in_a_batch(signatures):
    inputs = tracks(16)
    together = signatures.signatures["serving_default"](**inputs)
    alone = signatures.signatures["serving_default"](**{n: v[5:6] for n, v in inputs.items()})
    for name, values in together.items():
        np.testing.assert_allclose(alone[name][0], values[5], rtol=1e-4, atol=1e-3)


def test_absent_neighbours_are_not_read(signatures):
    inputs, other = tracks(), tracks()
    absent = other["present"][..., None] < 0.5
    other["neighbours"] = tf.where(absent, np.nan, other["neighbours"])
    one, two = (signatures.signatures["serving_default"](**x) for x in (inputs, other))
    np.testing.assert_array_equal(one["forecast"], two["forecast"])


def test_card_and_example_say_what_goes_in_and_comes_out(signatures):
    card = signatures.card
    assert card["system"] == "tmmoe" and card["intentions"] == ["keep", "left", "right"]
    assert set(card["inputs"]) == set(signatures.example)
    assert card["inputs"]["ego"].startswith("[batch, 8, 2]")
    answer = signatures.signatures["explain"](
        **{name: tf.constant(value) for name, value in signatures.example.items()}
    )
    assert set(card["outputs"]) == set(answer)


def test_a_model_that_knows_sites_asks_for_them_and_one_without_gates_shows_none():
    model = tmmoe("tiny", channels=6, context=True, sites=2, **SIZES)
    example = {name: np.asarray(value) for name, value in model.example().items()}
    one = served_model(strong(model), example=example, card={})
    inputs = {**tracks(), "site": tf.constant([0, 1, 2, 2])}
    assert one.signatures["explain"](**inputs)["gates"].shape == (4, 3, 3)
    plain = TrajectoryModel(LSTMEncoder(4), head_dim=4, multimodal=False, gaussian=False, **SIZES)
    example = {name: np.asarray(value) for name, value in plain.example().items()}
    other = served_model(plain, example=example, card={})
    assert set(other.signatures["explain"](**tracks())) == {"forecast", "modes", "probability"}
    assert set(other.card["outputs"]) == {"forecast", "modes", "probability"}
