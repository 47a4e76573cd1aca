from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import FeatureGate, HoME, MLPExperts
from moe_apps.layers.multi_gate.expert_set import ExpertSet

GROUPS = {"watch": ("long", "full"), "interact": ("like",)}


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(9, 6)).astype("float32")


class OneTask(keras.layers.Layer):
    """The output of one task, so that gradients are of that task alone."""

    def __init__(self, layer: HoME, task: str) -> None:
        super().__init__()
        self.layer, self.task = layer, task

    def build(self, input_shape) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
        self.built = True

    def call(self, x, training=None):
        return self.layer(x, training=training)[self.task]


def test_the_table_of_who_sees_whom(rows):
    layer = HoME(GROUPS, units=(4,), num_experts=1)
    outputs, (meta, task) = layer(rows, return_gates=True)
    assert list(outputs) == ["long", "full", "like"]
    names = layer.levels[0].expert_names
    assert names == ["shared_0", "group_watch_0", "group_interact_0"]
    seen = {name: (array(w) > 0).all(axis=0).tolist() for name, w in meta.items()}
    assert seen == {
        "watch": [True, True, False],
        "interact": [True, False, True],
        "shared": [True, True, True],
    }
    assert layer.levels[1].expert_names[3:] == ["task_long_0", "task_full_0", "task_like_0"]
    seen = {name: (array(w) != 0).all(axis=0).tolist() for name, w in task.items()}
    assert seen == {
        "long": [True, True, False, True, False, False],
        "full": [True, True, False, False, True, False],
        "like": [True, False, True, False, False, True],
    }


def test_a_task_gives_hidden_experts_no_gradient(rows):
    layer = OneTask(HoME(GROUPS, units=(4,), num_experts=2), "like")
    result = step(layer, rows, training=False)
    paths = [weight.path for weight in layer.trainable_variables]
    of_sets = {
        name: f"task_set_{number}/" for number, name in enumerate(layer.layer.levels[1].sets)
    }
    assert of_sets["group_watch"] == "task_set_1/"  # the second of the sets
    for name, marker in of_sets.items():
        bank = [
            gradient
            for path, gradient in zip(paths, result.gradients, strict=True)
            if f"task_experts_{marker[9:]}" in path or marker in path
        ]
        assert bank, name
        seen = name in ("shared", "group_interact", "task_like")
        assert any(gradient.any() for gradient in bank) == seen, name


def test_a_task_that_its_gate_has_left_still_gets_gradient_by_the_self_gate(rows):
    home = HoME(GROUPS, units=(4,), num_experts=1)
    home.build(rows.shape)
    gate = home.levels[1].gates["like"]
    gate.kernel.assign(np.zeros(gate.kernel.shape))
    gate.bias.assign([200.0, 200.0, -200.0])  # shared, group, own
    layer = OneTask(home, "like")
    result = step(layer, rows, training=False)
    kernel = home.levels[1].sets["task_like"].bank.stacked_weights[0]
    own = next(
        gradient
        for weight, gradient in zip(layer.trainable_variables, result.gradients, strict=True)
        if weight is kernel
    )
    assert own.any()


def test_levels_by_hand(rows):
    """One expert a set and inference: every mixture is written out."""
    layer = HoME({"g": ("t",)}, units=(3,), num_experts=1)
    outputs, (meta, top) = layer(rows, return_gates=True)

    def part(level: int, name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Output of a set's one expert, and its self gate."""
        kernel, bias = (array(w)[0] for w in layer.levels[level].sets[name].bank.weights)
        hidden = (x @ kernel + bias) / np.sqrt(1 + 1e-3)  # BN at its first moments
        gate_name = {"group_g": "g", "task_t": "t"}.get(name, name)
        gate = layer.levels[level].self_gates.get(gate_name)
        weight = 0 if gate is None else 1 / (1 + np.exp(-x @ array(gate.kernel)))
        return hidden / (1 + np.exp(-hidden)), weight

    # Feature gates are the identity at first.
    shared, group = part(0, "shared", rows), part(0, "group_g", rows)
    mixed = {name: array(w) for name, w in meta.items()}
    z_g = mixed["g"][:, :1] * shared[0] + mixed["g"][:, 1:] * group[0] + group[1] * group[0]
    z_s = mixed["shared"][:, :1] * shared[0] + mixed["shared"][:, 1:] * group[0]
    z_s = z_s + shared[1] * shared[0]
    experts = [part(1, "shared", z_s), part(1, "group_g", z_g), part(1, "task_t", z_g)]
    weights = array(top["t"])
    powers = np.exp(np.concatenate([z_g, z_s], axis=-1) @ array(layer.levels[1].gates["t"].kernel))
    np.testing.assert_allclose(weights, powers / powers.sum(axis=-1, keepdims=True), rtol=1e-4)
    expected = sum(weights[:, e : e + 1] * experts[e][0] for e in range(3))
    expected = expected + experts[2][1] * experts[2][0]
    np.testing.assert_allclose(array(outputs["t"]), expected, rtol=1e-4, atol=1e-5)


def test_normalisation_is_each_experts_own_and_skips_padding(rows):
    experts = ExpertSet(MLPExperts(2, units=(3,), output_activation=None), normalize=True)
    experts.build(rows.shape)
    kernel = experts.bank.stacked_weights[0]
    kernel.assign(array(kernel) * np.array([1.0, 1000.0])[:, None, None])
    mask = np.arange(9) < 6
    outputs = array(experts(rows, mask=mask, training=True))[mask]
    hidden = np.einsum("nd,edh->neh", rows, array(kernel))[mask]
    scaled = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-3)
    np.testing.assert_allclose(outputs, scaled / (1 + np.exp(-scaled)), rtol=1e-3, atol=1e-4)
    spread = outputs.std(axis=(0, 2))  # one scale, though the second expert's weights are huge
    np.testing.assert_allclose(spread[0], spread[1], rtol=1)
    again = array(experts(np.where(mask[:, None], rows, 30), mask=mask, training=True))[mask]
    np.testing.assert_allclose(again, outputs, rtol=1e-4, atol=1e-5)


def test_inference_uses_running_moments(rows):
    layer = HoME({"g": ("t",)}, units=(3,))
    before = array(layer(rows)["t"])
    layer(5 * rows, training=True)
    after = array(layer(rows)["t"])
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(array(layer(rows[:1])["t"]), after[:1], rtol=1e-4, atol=1e-5)


def test_a_feature_gate_scales_between_0_and_2(rows):
    gate = FeatureGate(heads=2, rank=3)
    np.testing.assert_allclose(array(gate(rows)), rows, rtol=1e-6)
    gate.up.assign(np.random.default_rng(1).normal(size=gate.up.shape) * 3)
    low = (rows @ array(gate.down)).reshape(9, 2, 3)
    scale = 2 / (1 + np.exp(-np.einsum("nlr,lrd->nld", low, array(gate.up))))
    powers = np.exp(rows @ array(gate.head_gate.kernel))
    mixed = np.einsum("nl,nld->nd", powers / powers.sum(axis=-1, keepdims=True), scale)
    np.testing.assert_allclose(array(gate(rows)), rows * mixed, rtol=1e-4, atol=1e-5)
    assert mixed.min() > 0 and mixed.max() < 2


@pytest.mark.parametrize(
    "groups, message",
    [
        ({}, "`groups` must name at least one group"),
        ({"g": ()}, "each with at least one task"),
        ({"shared": ("a",)}, 'none "shared"'),
        ({"g": ("a",), "h": ("a",)}, "`tasks` must be distinct names"),
    ],
)
def test_bad_groups_are_named(groups, message):
    with pytest.raises(ValueError, match=message):
        HoME(groups, units=(4,))
