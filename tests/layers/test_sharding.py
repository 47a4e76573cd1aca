"""Experts over devices: which weights are cut, and two processes that train as one does."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_modes import TENSORFLOW
from layer_entries import BANK_ENTRIES, FEATURES, LAYER_ENTRIES, layer_of
from moe_apps.layers import ExpertBank, FFNExperts, MoE, SwiGLU, SwiGLUExperts, TopK
from moe_apps.layers.callbacks.probe import all_layers
from moe_apps.layers.sharding import expert_parallel, expert_parallel_layout
from moe_apps.models.forecasting import TimeMoE

ON_JAX = pytest.mark.skipif(TENSORFLOW, reason="experts are sharded on JAX")
SCRIPT = Path(__file__).parents[2] / "scripts" / "distributed_training.py"


def mesh(expert_shards: int = 2) -> keras.distribution.DeviceMesh:
    devices = [f"cpu:{i}" for i in range(2 * expert_shards)]
    return keras.distribution.DeviceMesh((2, expert_shards), ("batch", "expert"), devices)


def network() -> keras.Model:
    """Names that Keras makes up, and one that it does not."""
    inputs = keras.Input((8, FEATURES))
    hidden = MoE(TopK(k=2), SwiGLUExperts(4, 5), shared=SwiGLU(5))(inputs)
    return keras.Model(inputs, MoE(TopK(k=1), FFNExperts(4, 5, name="mine_3"))(hidden))


def without_weights(build: Any) -> Any:
    with keras.StatelessScope(initialize_variables=False):
        return build()


def assert_only_stacked_weights_are_cut(layout: Any, model: Any, axis: str = "expert") -> None:
    banks = [layer for layer in all_layers(model) if isinstance(layer, ExpertBank)]
    stacked = {weight.path for bank in banks for weight in bank.stacked_weights}
    for variable in model.variables:
        found = layout[variable.path]
        if variable.path in stacked:
            assert found.axes == (axis, *[None] * (len(variable.shape) - 1)), variable.path
        else:
            assert found is None, variable.path


@pytest.mark.skipif(not TENSORFLOW, reason="JAX shards")
def test_other_backends_are_refused():
    for ask in (
        lambda: expert_parallel_layout(mesh(), network()),
        lambda: expert_parallel(network, 1),
    ):
        with pytest.raises(RuntimeError, match=r"on JAX only.*KERAS_BACKEND=jax"):
            ask()


@ON_JAX
@pytest.mark.parametrize(
    "build", [network, lambda: TimeMoE.from_preset("tiny")], ids=["net", "time"]
)
def test_a_second_model_of_the_architecture_is_laid_out_as_the_first(build):
    layout = expert_parallel_layout(mesh(), without_weights(build))
    again = without_weights(build)
    assert_only_stacked_weights_are_cut(layout, again)
    expert = next(layer for layer in all_layers(again) if isinstance(layer, SwiGLUExperts))
    assert expert.name not in ("swi_glu_experts", "mine_3")  # so its path is not the first's


@ON_JAX
@pytest.mark.parametrize("entry", [*BANK_ENTRIES, *LAYER_ENTRIES], ids=str)
def test_every_bank_is_laid_out(entry):
    def build() -> Any:
        layer = layer_of(entry)
        layer.build((3, 8, FEATURES))
        return layer

    layer = without_weights(build)
    if not any(getattr(part, "stacked_weights", None) for part in all_layers(layer)):
        pytest.skip("it has no stacked weights")
    assert_only_stacked_weights_are_cut(expert_parallel_layout(mesh(1), layer), layer)


@ON_JAX
def test_the_distribution_has_the_devices_asked_for():
    devices = [f"cpu:{i}" for i in range(6)]
    made = expert_parallel(network, 2, devices)
    assert made.device_mesh.shape == (3, 2) and made.num_model_replicas == 3
    assert [list(row) for row in made.device_mesh.devices] == [
        devices[:2],
        devices[2:4],
        devices[4:],
    ]
    assert_only_stacked_weights_are_cut(made._layout_map, without_weights(network))


@ON_JAX
@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda: expert_parallel_layout(mesh(), network(), "model"), "`axis` must be one of"),
        (lambda: expert_parallel_layout(mesh(), keras.layers.Dense(2)), "have expert banks"),
        (lambda: expert_parallel_layout(mesh(3), network()), "4 experts.*among 3 devices"),
        (lambda: expert_parallel(network, 4, ["cpu:0", "cpu:1"]), "must divide.*2"),
        (lambda: expert_parallel(network, 0, ["cpu:0", "cpu:1"]), "must divide.*2"),
    ],
)
def test_what_cannot_be_divided_is_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        without_weights(ask)


# === Two processes ===


def losses_of(output: str) -> list[float]:
    return [float(value) for value in re.findall(r"loss (\S+)", output)]


@pytest.fixture
def two_processes(tmp_path) -> Any:
    """Runs the script as two processes with two devices each; returns what they printed."""
    running: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str) -> list[str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        root = str(SCRIPT.parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        logs = [tmp_path / f"process_{i}.log" for i in range(2)]
        for process, log in enumerate(logs):
            command = [sys.executable, SCRIPT, "--coordinator", f"127.0.0.1:{port}", *arguments]
            command += ["--virtual-devices", "2", "--processes", "2", "--process", str(process)]
            with log.open("wb") as file:
                started = subprocess.Popen(
                    command, stdout=file, stderr=file, env={**os.environ, "PYTHONPATH": path}
                )
            running.append(started)
        codes = [process.wait(timeout=400) for process in running]
        printed = [log.read_text() for log in logs]
        assert codes == [0, 0], "\n\n".join(printed)
        return printed

    yield run
    for process in running:
        process.kill()  # nothing happens to one that has ended
        process.wait()


@ON_JAX
def test_two_processes_train_as_one_does(two_processes):
    """Capacity drops tokens by their place in the batch, so the whole batch must be the same."""
    steps = 3
    printed = two_processes("--steps", str(steps), "--check")

    # A process of its own as well: what drew numbers before in this one would change the weights.
    command = [sys.executable, SCRIPT, "--steps", str(steps)]
    path = os.pathsep.join(filter(None, (str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    alone = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert alone.returncode == 0, alone.stderr
    expected = losses_of(alone.stdout)
    assert len(expected) == steps and expected[-1] < expected[0]

    for process, text in enumerate(printed):
        np.testing.assert_allclose(losses_of(text), expected, rtol=1e-4)
        assert "(8, 16, 32) in parts [(4, 16, 32), (4, 16, 32)]" in text
        assert f"process {process} of 2: every device holds 4 of 8 experts" in text
