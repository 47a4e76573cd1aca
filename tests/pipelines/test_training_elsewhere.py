"""Training on another backend or on several devices: each needs a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

HERE = Path(__file__).parent

pytestmark = pytest.mark.slow

MIRRORED = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np, sys, tempfile
from pathlib import Path
from moe_apps.errors import ConfigError
from moe_apps.pipelines import optimisation, training
from moe_apps.pipelines.batches import ShuffledBatches

original = tf.distribute.MirroredStrategy
tf.distribute.MirroredStrategy = lambda: original(["CPU:0", "CPU:1"])
x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
gather = lambda n: (tf.gather(x, n), tf.reduce_sum(tf.gather(x, n), axis=1, keepdims=True))
data = ShuffledBatches(gather, 40, 8, 1)

def trained(folder, resume=False, epochs_to_run=3, **changes):
    settings = training.TrainSettings(epochs=3, batch_size=8, clip_norm=0, **changes)
    training.set_seed(1)
    with optimisation.strategy_scope(settings):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    optimisation.compile_model(model, settings, loss="mse", total_steps=15)
    def stop(epoch, logs):
        if epoch == epochs_to_run:
            raise KeyboardInterrupt
    try:
        result = training.fit(model, data, settings, checkpoint=Path(folder, "checkpoint"),
            history_file=Path(folder, "history.csv"), resume=resume, on_epoch=[stop])
    except KeyboardInterrupt:
        return None, model
    return result, model

for changes in ({"ema": 0.9}, {"precision": "mixed_float16"}):
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        one, alone = trained(a, **changes, epochs_to_run=9)
        trained(b, strategy="mirrored", epochs_to_run=1, **changes)
        two, both = trained(b, strategy="mirrored", resume=True, epochs_to_run=9, **changes)
        assert both.distribute_strategy.num_replicas_in_sync == 2
        for mine, theirs in zip(both.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=2e-5, err_msg=str(changes))
        assert abs(one.best - two.best) < 1e-4, (one.best, two.best)
try:
    optimisation.strategy_scope(training.TrainSettings(strategy="mirrored", batch_size=7))
except ConfigError as error:
    print(error)
"""


def run(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="runs on JAX already")
def test_training_resumes_and_averages_on_jax():
    which = "accumulation or within"
    tests = str(HERE / "test_training.py")
    output = run(["-m", "pytest", "-q", tests, "-k", which], KERAS_BACKEND="jax")
    assert "2 passed" in output


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is a TensorFlow strategy")
def test_two_devices_train_and_resume_like_one():
    output = run(["-c", MIRRORED], CUDA_VISIBLE_DEVICES="")
    assert "expected a multiple of the 2 devices" in output
