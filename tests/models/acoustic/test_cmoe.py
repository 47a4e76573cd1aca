from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_modes import TENSORFLOW, in_mode
from moe_apps.layers import MLPExperts, MoE
from moe_apps.models.acoustic import AcousticFeatures, CMoE, CMoEGate, NormalisedExperts
from moe_apps.models.acoustic.gate import ACTIVATIONS, GATES
from moe_apps.models.acoustic.resnet import POOLINGS, resnet
from moe_apps.pipelines.parameters import count_parameters

Arrays = dict[str, np.ndarray]
ROWS, FEATURES, EXPERTS, CLASSES = 24, 5, 4, 3


def head(gate: str = "switch", weight: float = 0.0, activation: str = "softmax") -> MoE:
    layer = MoE(
        CMoEGate(gate, activation, balance_loss_weight=weight),
        MLPExperts(EXPERTS, (CLASSES,), output_activation=None),
        dispatch="dense",
    )
    layer.build((None, FEATURES))
    rng = np.random.default_rng(3)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return layer


def rows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(ROWS, FEATURES)).astype("float32")


def router_gradient(layer: MoE, task: bool) -> float:
    """Largest gradient of the routing layer's matrix, of the task or of the balance loss."""
    place = next(n for n, v in enumerate(layer.trainable_variables) if v is layer.router.kernel)
    target = np.eye(CLASSES, dtype="float32")[np.arange(ROWS) % CLASSES]
    x = ops.convert_to_tensor(rows())

    def loss(outputs: object, losses: list) -> object:
        if not task:
            return sum(losses)
        return ops.mean(keras.losses.categorical_crossentropy(target, outputs, from_logits=True))

    if TENSORFLOW:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(layer(x, training=True), layer.losses)
        gradient = tape.gradient(
            value, layer.router.kernel.value, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
    else:
        import jax

        fixed = [v.value for v in layer.non_trainable_variables]

        def value(weights: list) -> object:
            outputs, _, losses = layer.stateless_call(
                weights, fixed, x, training=True, return_losses=True
            )
            return loss(outputs, losses)

        gradient = jax.grad(value)([v.value for v in layer.trainable_variables])[place]
    return float(np.abs(np.asarray(gradient)).max())


def test_the_task_gives_the_hard_gate_no_gradient() -> None:
    assert router_gradient(head("hard"), task=True) == 0
    # Only the balance loss moves the routing layer of the released code.
    assert router_gradient(head("hard", weight=0.1), task=False) > 1e-4


@pytest.mark.parametrize("gate", [gate for gate in GATES if gate != "hard"])
def test_the_task_trains_every_other_gate(gate: str) -> None:
    assert router_gradient(head(gate), task=True) > 1e-3


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gates_by_hand(activation: str) -> None:
    x = rows().astype(np.float64)
    for gate in GATES:
        layer = head(gate, activation=activation)
        logits = x @ np.array(layer.router.kernel) + np.array(layer.router.bias)
        softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        scores = {"softmax": softmax, "sigmoid": 1 / (1 + np.exp(-logits)), "linear": logits}
        kernel, bias = (np.array(weight) for weight in layer.experts.stacked_weights)
        experts = np.einsum("bd,mdc->bmc", x, kernel) + bias[:, 0]
        chosen = logits.argmax(axis=1)
        picked = experts[np.arange(ROWS), chosen]
        expected = {
            "hard": picked,
            "straight_through": picked,
            "switch": picked * scores[activation][np.arange(ROWS), chosen, None],
            "soft": np.einsum("bm,bmc->bc", softmax, experts),
        }[gate]
        found = np.asarray(layer(ops.convert_to_tensor(rows())))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4, err_msg=gate)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_balance_loss_by_hand(activation: str) -> None:
    gate = CMoEGate("hard", activation, balance_loss_weight=0.5, num_experts=EXPERTS)
    decision = gate(ops.convert_to_tensor(rows()), training=True)
    logits = rows() @ np.array(gate.kernel)
    share = np.bincount(logits.argmax(axis=1), minlength=EXPERTS) / ROWS
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if activation == "sigmoid":
        scores = 1 / (1 + np.exp(-logits))
    expected = 0.5 * EXPERTS * (share * scores.mean(axis=0)).sum()
    assert float(decision.losses["balance"]) == pytest.approx(expected, rel=1e-4)


def test_one_example_decides_alone(make_model: Callable[..., CMoE], inputs: Arrays) -> None:
    model = make_model(expert_hidden=6, residual=True)
    together = model(inputs)
    for row in (0, 5):
        alone = model({name: value[row : row + 1] for name, value in inputs.items()})
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], together[name][row], atol=1e-5)


def test_modes_agree(make_model: Callable[..., CMoE], inputs: Arrays, mode: str) -> None:
    model = make_model(pooling="attention", router_input="demon")
    expected = {name: np.asarray(value) for name, value in model(inputs).items()}
    found = in_mode(lambda given: model(given), mode)(inputs)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


def test_demon_alone_decides_where_it_is_routed_on(
    make_model: Callable[..., CMoE], inputs: Arrays
) -> None:
    model = make_model(router_input="demon")
    other = {**inputs, "image": inputs["image"] + 1}
    same, changed = model(inputs), model(other)
    np.testing.assert_array_equal(same["router_scores"], changed["router_scores"])
    assert np.abs(np.asarray(same["logits"]) - np.asarray(changed["logits"])).max() > 1e-4


SETTINGS = [
    {},
    {"num_experts": 1, "residual": True, "expert_hidden": 5},
    {"demon_encoder": "kernel"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_saved_model_answers_the_same(
    settings: dict, make_model: Callable[..., CMoE], tmp_path: Path
) -> None:
    features = AcousticFeatures(
        "mel", samples=8000, sample_rate=8000, demon={"high": 3900.0}, frame=256, hop=128,
        bands=16, time_pool=4,
    )  # fmt: skip
    shapes = features.shapes()
    model = make_model(
        features=features, image_shape=shapes["image"], demon_shape=shapes["demon"], **settings
    )
    sound = np.random.default_rng(0).normal(size=(3, 8000)).astype("float32")
    raw = {name: np.asarray(value) for name, value in features(sound).items()}
    model.set_statistics(raw)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for name, value in model.of_raw(sound).items():
        np.testing.assert_allclose(loaded.of_raw(sound)[name], value, atol=1e-5, err_msg=name)


def test_a_few_steps_lower_the_loss(make_model: Callable[..., CMoE], inputs: Arrays) -> None:
    model = make_model(expert_hidden=6, residual=True, dropout=0.0, label_smoothing=0.1)
    target = np.eye(CLASSES, dtype="float32")[np.arange(6) % CLASSES]
    model.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=False)
    before = [np.array(v) for v in model.non_trainable_variables if "moving_mean" in v.path]
    history = model.fit(inputs, target, epochs=4, batch_size=6, verbose=0).history["loss"]
    assert history[-1] < history[0]
    after = [np.array(v) for v in model.non_trainable_variables if "moving_mean" in v.path]
    moved = [np.abs(one - other).max() > 0 for one, other in zip(before, after, strict=True)]
    assert all(moved)  # the experts' batch normalisation among them


def test_experts_normalise_by_the_batch_in_training_only() -> None:
    bank = NormalisedExperts(2, hidden_dim=4, output_dim=3)
    x = 5 + 3 * rows()[None]
    bank.build(x.shape)
    own = layers.BatchNormalization(epsilon=1e-3, momentum=0.9)
    kernel_1, _gamma, _beta, mean, _variance, kernel_2, _bias_2 = bank.stacked_weights
    hidden = x[0] @ np.array(kernel_1)[1]
    expected = np.maximum(np.asarray(own(hidden, training=True)), 0) @ np.array(kernel_2)[1]
    np.testing.assert_allclose(np.asarray(bank(x, training=True))[1], expected, atol=1e-4)
    np.testing.assert_allclose(np.array(mean)[1, 0], np.array(own.moving_mean), atol=1e-5)
    assert not np.allclose(np.asarray(bank(x))[1], expected, atol=1e-2)


def test_sizes() -> None:
    """ResNet-18 has 11,176,512 weights without its last layer, for three input channels."""
    image = keras.Input((64, 64, 1))
    model = keras.Model(image, resnet(image))
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert trainable == 11_176_512 - 2 * 7 * 7 * 64


@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings(pooling: str) -> None:
    image = keras.Input((16, 24, 1))
    vector = resnet(image, (4, 8), (1, 1), 3, False, pooling)
    assert vector.shape[1] == (6 * 8 if pooling == "time" else 8)


def test_the_twin_has_the_active_weights(make_model: Callable[..., CMoE]) -> None:
    model, twin = make_model(), make_model(num_experts=1)
    active = count_parameters(model)["active"]
    router = model.head.router.count_params()
    assert twin.count_params() == active - router


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"front_end": "vgg"}, "front_end"),
        ({"pooling": "max"}, "pooling"),
        ({"gate": "top"}, "gate"),
        ({"activation": "relu"}, "activation"),
        ({"router_input": "image"}, "router_input"),
        ({"router_input": "demon", "demon_shape": None}, "needs a DEMON"),
        ({"image_shape": None, "demon_shape": None}, "to look at"),
    ],
)
def test_mistakes(settings: dict, message: str, make_model: Callable[..., CMoE]) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(**settings)
