from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array
from moe_apps.models.trajectory.sequence_experts import GRUExperts, TCNExperts
from moe_apps.models.trajectory.task_experts import GATES, TaskExperts
from moe_apps.models.trajectory.tasks import TASKS


@pytest.fixture
def sequence() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, 8, 5)).astype("float32")


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_gives_each_task_a_mixture(gate, sequence):
    layer = TaskExperts(gate, num_experts=6, units=7)
    answers, gates = layer(sequence)
    gates = array(gates)
    assert list(answers) == list(TASKS)
    assert all(array(answers[task]).shape == (4, 7) for task in TASKS)
    assert gates.shape == (4, 3, 1 if gate == "shared_bottom" else 6)
    np.testing.assert_allclose(gates.sum(axis=-1), 1, atol=1e-5)
    same = np.abs(array(answers["lateral"]) - array(answers["intention"])).max() < 1e-6
    assert same == (gate in ("omoe", "shared_bottom"))


def test_the_mixture_by_hand(sequence):
    layer = TaskExperts("mmoe", num_experts=3, units=4)
    answers, gates = layer(sequence)
    pool = layer.mixture
    kernel, bias = (array(w) for w in pool.sets["shared"].bank.stacked_weights)
    last = sequence[:, -1]
    experts = np.maximum(np.einsum("bd,edu->beu", last, kernel) + bias[:, 0], 0)
    spread = np.sqrt(last.var(axis=-1, keepdims=True) + layer.gate_normalization.epsilon)
    normal = (last - last.mean(axis=-1, keepdims=True)) / spread
    for number, task in enumerate(TASKS):
        logits = normal @ array(pool.gates[task].kernel)
        weights = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(array(gates)[:, number], weights, atol=1e-5)
        mixed = np.einsum("be,beu->bu", weights, experts)
        np.testing.assert_allclose(array(answers[task]), mixed, atol=1e-5)


@pytest.mark.parametrize("gate", ["cgc", "ple"])
def test_a_task_never_sees_the_experts_of_another(gate, sequence):
    gates = array(TaskExperts(gate, num_experts=6, units=4)(sequence)[1])
    seen = (gates > 0).all(axis=0)
    assert seen.tolist() == [
        [True, False, False, True, True, True],
        [False, True, False, True, True, True],
        [False, False, True, True, True, True],
    ]


def test_the_context_reaches_the_gates_but_not_the_experts(sequence):
    layer = TaskExperts("mmoe", num_experts=3, units=4)
    calm, busy = np.zeros((4, 2), "float32"), np.full((4, 2), 3.0, "float32")
    _, gates = layer(sequence, calm)
    _, other = layer(sequence, busy)
    assert np.abs(array(gates) - array(other)).max() > 0.05
    assert layer.mixture.sets["shared"].bank.stacked_weights[0].shape == (3, 5, 4)


def test_recurrent_experts_are_gated_recurrent_units(sequence):
    bank = GRUExperts(2, steps=8, units=3)
    flat = sequence.reshape(1, 4, 40)
    found = array(bank(flat))
    for expert in range(2):
        unit = keras.layers.GRU(3, reset_after=True)
        unit.build((None, 8, 5))
        kernel, recurrent, bias = (array(w)[expert] for w in bank.stacked_weights)
        unit.set_weights([kernel, recurrent, np.concatenate([bias, np.zeros_like(bias)])])
        np.testing.assert_allclose(found[expert], array(unit(sequence)), atol=1e-5)


def test_convolutional_experts_are_causal_dilated_convolutions(sequence):
    bank = TCNExperts(2, steps=8, units=3)
    found = array(bank(sequence.reshape(1, 4, 40)))
    weights = [array(w) for w in bank.stacked_weights]
    for expert in range(2):
        x = sequence
        for number, width in enumerate((5, 3)):
            convolution = keras.layers.Conv1D(
                3, 3, padding="causal", dilation_rate=number + 1, activation="relu"
            )
            convolution.build((None, 8, width))
            kernel, bias = weights[2 * number][expert], weights[2 * number + 1][expert, 0]
            convolution.set_weights([kernel.reshape(3, width, 3), bias])
            x = array(convolution(x))
        np.testing.assert_allclose(found[expert], x[:, -1], atol=1e-5)


def test_large_features_do_not_make_gates_hard(sequence):
    layer = TaskExperts("mmoe", num_experts=3, units=4)
    gates, other = (array(layer(scale * sequence)[1]) for scale in (1.0, 1000.0))
    np.testing.assert_allclose(other, gates, atol=1e-2)


@pytest.mark.parametrize("experts", ["gru", "tcn"])
def test_sequence_experts_serve_under_a_gate_and_read_old_steps(experts, sequence):
    layer = TaskExperts("mmoe", experts, num_experts=3, units=4)
    answers, _ = layer(sequence)
    changed = sequence.copy()
    changed[:, 3] += 1.0
    other, _ = layer(changed)
    assert np.abs(array(answers["lateral"]) - array(other["lateral"])).max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gate": "softmax"}, "must be one of mmoe"),
        ({"experts": "rnn"}, "must be one of dense"),
        ({"gate": "ple", "experts": "gru"}, "goes with dense experts only"),
        ({"gate": "cgc", "num_experts": 4}, "multiple of 3, at least 6"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TaskExperts(**settings)
