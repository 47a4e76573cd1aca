from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import MODES, QUICKEST, TENSORFLOW, array, in_mode
from moe_apps.models.trajectory import LSTMEncoder, TrajectoryModel, tmmoe
from moe_apps.models.trajectory.features import FEATURES, constant_velocity
from moe_apps.models.trajectory.trajectory_model import point_forecast

SIZES = {"history_steps": 8, "horizon": 5, "rate": 5.0, "velocity_span": 2}


def run(model: TrajectoryModel, inputs, mode: str = QUICKEST) -> dict[str, np.ndarray]:
    return in_mode(lambda values: model(values, training=False), mode)(inputs)


def test_size_by_hand():
    channels, experts, units, head, steps = 16, 3, 16, 16, 3 * 5
    features = len(FEATURES)
    convolution = 3 * channels * channels + 2 * channels  # kernel, bias and length
    first = 3 * features * channels + 2 * channels + convolution + (features + 1) * channels
    tcn = first + 2 * convolution  # two levels see 13 steps
    shortcut = (8 * features + 1) * channels  # from all 8 steps
    gates = 3 * channels * experts + 2 * channels  # and their normalisation
    mixture = experts * (channels + 1) * units + gates
    hidden = 3 * (units + 1) * head
    outputs = (head + 1) * (2 * steps + 3 * steps + 3)
    statistics = 2 * features + 2 * 5
    expected = tcn + shortcut + mixture + hidden + outputs + 3 + statistics
    assert tmmoe("tiny", **SIZES).count_params() == expected


def test_eager_graph_and_xla_agree(make_model, tracks):
    model, inputs = make_model(), tracks()
    results = [run(model, inputs, mode) for mode in MODES]
    for other in results[1:]:
        for name, values in results[0].items():
            np.testing.assert_allclose(other[name], values, rtol=1e-4, atol=1e-4)
    assert results[0]["longitudinal"].std() > 0.1


def test_a_vehicle_alone_is_as_in_a_batch(make_model, tracks):
    model, inputs = make_model(), tracks(5)
    together = run(model, inputs)
    alone = run(model, {name: values[2:3] for name, values in inputs.items()})
    for name, values in together.items():
        np.testing.assert_allclose(alone[name][0], values[2], rtol=1e-4, atol=1e-4)


def test_with_silent_heads_it_is_constant_velocity(make_model, tracks):
    model, inputs = make_model(), tracks()
    for _, output in model.heads.values():
        output.kernel.assign(np.zeros(output.kernel.shape))
    outputs = run(model, inputs)
    way = array(constant_velocity(inputs["ego"], 5.0, span=2, horizon=5))
    for mode in range(3):
        np.testing.assert_allclose(outputs["longitudinal"][:, mode], way[..., 0], atol=1e-4)
        np.testing.assert_allclose(outputs["lateral"][:, mode], way[..., 1], atol=1e-4)
    np.testing.assert_allclose(array(point_forecast(outputs)), way, atol=1e-4)


def test_the_point_forecast_is_the_mean_over_intentions(make_model, tracks):
    outputs = run(make_model(), tracks())
    probability = np.exp(outputs["intention"])
    probability /= probability.sum(axis=-1, keepdims=True)
    expected = np.einsum("bm,bmh->bh", probability, outputs["lateral"])
    np.testing.assert_allclose(array(point_forecast(outputs))[..., 1], expected, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"multimodal": False},
        {"gaussian": False},
        {"gate": "cgc", "num_experts": 6},
        {"context": True, "sites": 2},
    ],
    ids=str,
)
def test_settings_change_outputs_and_survive_saving(settings, make_model, tracks, tmp_path):
    model, inputs = make_model(**settings), tracks()
    if "sites" in settings:
        inputs["site"] = np.array([0, 1, 2], "int32")
    outputs = run(model, inputs)
    assert outputs["lateral"].shape[1] == (1 if "multimodal" in settings else 3)
    assert ("deviation" in outputs) == ("gaussian" not in settings)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    for name, values in run(loaded, inputs).items():
        np.testing.assert_allclose(values, outputs[name], rtol=1e-4, atol=1e-4)
    assert loaded.log_variances() == model.log_variances()


def test_the_site_reaches_the_gates(make_model, tracks):
    model, inputs = make_model(context=True, sites=2), tracks(1)
    gates = [run(model, {**inputs, "site": np.array([s], "int32")})["gates"] for s in range(3)]
    assert np.abs(gates[0] - gates[1]).max() > 1e-3 and np.abs(gates[1] - gates[2]).max() > 1e-3


@pytest.mark.parametrize("gate", ["mmoe", "ple"])
def test_the_dense_twin_has_as_many_weights(gate):
    model, twin = (
        tmmoe("small", dense=dense, gate=gate, num_experts=6, **SIZES) for dense in (False, True)
    )
    assert twin.count_params() == pytest.approx(model.count_params(), rel=0.005)
    assert twin.encoder.gate == "shared_bottom"


def test_single_task_lstms_share_nothing(tracks):
    model = TrajectoryModel(LSTMEncoder(4, multi_task=False), head_dim=4, **SIZES)
    inputs = tracks()
    before = run(model, inputs)
    model.encoder.networks[0].set_weights(
        [w + 0.5 for w in model.encoder.networks[0].get_weights()]
    )
    after = run(model, inputs)
    assert np.abs(after["longitudinal"] - before["longitudinal"]).max() > 1e-4
    np.testing.assert_array_equal(after["lateral"], before["lateral"])
    np.testing.assert_array_equal(after["intention"], before["intention"])
    assert "gates" not in after
    shared = TrajectoryModel(LSTMEncoder(4), head_dim=4, **SIZES)
    assert len(shared.encoder.networks) == 1


def test_the_loss_by_hand(make_model, tracks):
    model, inputs = make_model(gaussian=False), tracks()
    outputs = run(model, inputs)
    rng = np.random.default_rng(0)
    future = rng.normal(size=(3, 5, 2)).astype("float32") * 10
    intention = np.array([0, 2, 1])
    reach = np.stack([np.arange(1.0, 6.0), np.full(5, 0.5)], axis=-1).astype("float32")
    model.reach.assign(reach)
    picked = np.stack(
        [outputs[task][np.arange(3), intention] for task in ("longitudinal", "lateral")], axis=-1
    )
    errors = np.square((picked - future) / reach).mean(axis=(0, 1))
    logits = outputs["intention"]
    entropy = np.mean(np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(3), intention])
    expected = 0.5 * errors.sum() + entropy
    found = model.compute_loss(y={"future": future, "intention": intention}, y_pred=outputs)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_training_lowers_the_loss_and_learns_the_tasks_weights(make_model, tracks):
    model, inputs = make_model(), tracks(16)
    future = np.cumsum(np.random.default_rng(1).normal([5, 0.3], 0.1, (16, 5, 2)), axis=1)
    targets = {
        "future": future.astype("float32"),
        "intention": np.arange(16, dtype="int32") % 4 - 1,
    }
    model.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=not TENSORFLOW)
    history = model.fit(inputs, targets, epochs=12, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < history[0] - 0.5
    assert all(abs(value) > 1e-3 for value in model.log_variances().values())


def test_a_span_longer_than_the_history_is_refused():
    with pytest.raises(ValueError, match=r"below the 8 steps of history. Received: 8"):
        tmmoe("tiny", **{**SIZES, "velocity_span": 8})
