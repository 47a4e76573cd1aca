"""Models that hold an MoE layer: training, saving, and moving between backends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_modes import QUICKEST, TENSORFLOW, array, in_mode
from moe_apps.layers import Capacity, Dropless, FFNExperts, MoE, SwiGLU, SwiGLUExperts, TopK


def network(dispatch="dropless", depth=2, **router) -> keras.Model:
    inputs = keras.Input((None, 6))
    hidden = MoE(
        TopK(k=2, balance_loss_weight=0.01, z_loss_weight=0.001, **router),
        SwiGLUExperts(4, 5),
        shared=SwiGLU(5, gated=True),
        dispatch=dispatch,
        name="first",
    )(inputs)
    if depth == 2:
        hidden = MoE(TopK(k=1), FFNExperts(3, 5), name="second")(hidden)
    return keras.Model(inputs, hidden)


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0).normal
    return draw(size=(10, 7, 6)).astype("float32"), draw(size=(10, 7, 6)).astype("float32")


# === Training ===


@pytest.mark.parametrize(
    "policy, jit_compile",
    [("float32", True), ("mixed_bfloat16", not TENSORFLOW), ("mixed_float16", not TENSORFLOW)],
)
def test_fit_under_every_policy(batch, policy, jit_compile):
    """The last batch is short, so the number of tokens changes."""
    keras.config.set_dtype_policy(policy)
    try:
        model = network(depth=1, jitter=0.01, seed=1)
        before = [array(variable) for variable in model.trainable_variables]
        model.compile("adam", "mse", jit_compile=jit_compile)
        history = model.fit(*batch, batch_size=6, epochs=1, verbose=0).history
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history["loss"][0])
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert (old != array(new)).any(), new.path


@pytest.mark.skipif(not TENSORFLOW, reason="`fit` leaves layer metrics out on JAX")
def test_trackers_show_in_the_history_of_fit(batch):
    model = network(Capacity(factor=0.5))
    model.compile("adam", "mse", jit_compile=not TENSORFLOW)
    model.fit(*batch, epochs=2, verbose=0)
    history = model.history.history
    assert len(history["first/entropy"]) == 2
    loads = [history[f"first/load_{expert}"][1] for expert in range(4)]
    assert sum(loads) == pytest.approx(1)
    assert history["first/drop_rate"][1] >= 0.4 and history["second/drop_rate"][1] == 0
    validation = model.evaluate(*batch, verbose=0, return_dict=True)
    assert validation["first/entropy"] == 0  # nothing is followed outside training


# === Saving ===


@pytest.mark.parametrize("dispatch", ["dense", Capacity(1.5, 3.0), Dropless("blocks", 8)])
def test_config_and_keras_file_bring_the_same_model_back(batch, tmp_path, dispatch):
    model = network(dispatch, softmax="chosen", jitter=0.1, seed=3)
    again = keras.Model.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert vars(loaded.get_layer("first").dispatch) == vars(model.get_layer("first").dispatch)
    one, two = (in_mode(m, QUICKEST)(batch[0]) for m in (loaded, model))
    np.testing.assert_array_equal(one, two)


def test_training_goes_on_after_loading(batch, tmp_path):
    model = network(depth=1)
    model.compile("adam", "mse", jit_compile=not TENSORFLOW)
    model.fit(*batch, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    losses = [m.fit(*batch, epochs=1, shuffle=False, verbose=0).history for m in (model, loaded)]
    assert losses[0]["loss"] == pytest.approx(losses[1]["loss"], rel=1e-4)


@pytest.mark.skipif(not TENSORFLOW, reason="SavedModels are exported on TensorFlow")
@pytest.mark.parametrize("dispatch", ["dense", "capacity", "dropless"])
def test_saved_model_gives_the_same_for_any_batch_and_length(batch, tmp_path, dispatch):
    import tensorflow as tf

    model = network(dispatch)
    model.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(tmp_path / "saved")
    for x in (batch[0], batch[0][:1, :3]):
        np.testing.assert_allclose(served.serve(x), model(x), rtol=1e-5, atol=1e-6)


ON_THE_OTHER_BACKEND = """
import keras, numpy as np
from moe_apps.layers import MoE
model = keras.saving.load_model("one.keras")
np.save("answer.npy", model.predict(np.load("question.npy"), verbose=0))  # compiled as a whole
model.save("two.keras")
"""


def test_weights_move_to_the_other_backend_and_back(batch, tmp_path):
    """TensorFlow to JAX to TensorFlow, or the other way round where JAX runs the tests."""
    model = network()
    model.save(tmp_path / "one.keras")
    np.save(tmp_path / "question.npy", batch[0])
    backend = "jax" if TENSORFLOW else "tensorflow"
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    subprocess.run(
        [sys.executable, "-c", ON_THE_OTHER_BACKEND],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path},
        check=True,
        timeout=300,
    )
    here = array(model(batch[0]))
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), here, rtol=1e-5, atol=1e-5)
    back = keras.saving.load_model(tmp_path / "two.keras")
    np.testing.assert_array_equal(array(back(batch[0])), here)
