"""What must hold for every router, expert bank and layer known by name, ours or not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import (
    QUICKEST,
    TENSORFLOW,
    Step,
    array,
    assert_same_step,
    in_mode,
    step,
)
from layer_entries import (
    BANK_ENTRIES,
    EXPERTS,
    FEATURES,
    LAYER_ENTRIES,
    ROUTER_ENTRIES,
    arguments_of,
    context_of,
    layer_of,
    make,
)
from moe_apps.layers.experts.expert_bank import ExpertBank

ALL = [*ROUTER_ENTRIES, *BANK_ENTRIES, *LAYER_ENTRIES]
EVERY = pytest.mark.parametrize("entry", ALL, ids=str)
ROUTER = pytest.mark.parametrize("entry", ROUTER_ENTRIES, ids=str)
# The same code on both backends, of which JAX compiles every single operation.
ON_TENSORFLOW = pytest.mark.skipif(not TENSORFLOW, reason="shown once, on TensorFlow")
# XLA on TensorFlow compiles each of these for seconds; by default JAX shows that it can be done.
XLA_TOO = ("graph", pytest.param("xla", marks=pytest.mark.slow)) if TENSORFLOW else ("xla",)
MASK = np.broadcast_to(np.arange(8) < 5, (3, 8))


@pytest.fixture
def x() -> np.ndarray:
    """`(batch, time, features)`."""
    return np.random.default_rng(0).normal(size=(3, 8, FEATURES)).astype("float32")


@pytest.fixture
def agreed(cache: pytest.Cache) -> Callable[[str, Step], Step]:
    """On TensorFlow, keeps a result and returns it; on JAX, returns what TensorFlow gave.

    The two backends cannot live in one process, so the results lie in pytest's cache.
    """

    def keep(name: str, result: Step) -> Step:
        file = Path(cache.mkdir("agreement")) / f"{name}.npz"
        arrays = [*keras.tree.flatten(result.outputs), result.losses, result.input_gradient]
        if TENSORFLOW:
            np.savez(file, *arrays, *result.gradients)
        elif not file.exists():
            pytest.skip("TensorFlow's results are missing: run this test there first")
        with np.load(file, allow_pickle=False) as kept:
            values = list(kept.values())
        count = len(arrays)
        outputs = keras.tree.pack_sequence_as(result.outputs, values[: count - 2])
        return Step(outputs, *values[count - 2 : count], values[count:])

    return keep


def with_drawn_weights(layer: Any, x: np.ndarray) -> Any:
    """The layer with weights drawn by NumPy: the backends' own generators differ."""
    if not layer.built:
        layer.build(x.shape)
    draw = np.random.default_rng(2).normal
    for variable in layer.weights:
        value = array(variable.value)
        random = value.dtype == np.float32 and value.size > 1 and value.std() > 0
        if random or variable.trainable:
            start = 0.0 if random else value  # what starts constant starts equal on both
            variable.assign(start + 0.4 * draw(size=value.shape))
    return layer


def outputs_of(layer: Any, x: np.ndarray, mode: str, **arguments: Any) -> list[np.ndarray]:
    """All outputs of a layer at inference, flattened, so that a task layer's dict is served too."""
    if not layer.built:
        layer.build(x.shape)
    names = list(arguments)

    def run(x: Any, *values: Any) -> Any:
        outputs = layer(x, **dict(zip(names, values, strict=True)), training=False)
        return keras.tree.flatten(outputs)

    return in_mode(run, mode)(x, *arguments.values())


def constructor_arguments(cls: type) -> set[str]:
    """Names of the constructor's arguments, those of our base classes included."""
    names: set[str] = set()
    for base in cls.__mro__:
        if base is keras.layers.Layer:
            return names
        parameters = inspect.signature(base.__init__).parameters.values()
        names |= {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD} - {"self"}
    raise TypeError(f"{cls} is no Keras layer")


@EVERY
def test_every_argument_is_stored_and_comes_back(entry):
    layer = make(entry)
    config = layer.get_config()
    for name in constructor_arguments(entry.cls):
        assert hasattr(layer, name), f"{entry.cls.__name__} does not store `{name}`"
        assert name in config, f"{entry.cls.__name__}.get_config leaves `{name}` out"
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is entry.cls
    assert again.get_config() == config


@pytest.mark.parametrize("mode", XLA_TOO)
@EVERY
def test_modes_and_backends_agree(entry, mode, x, agreed):
    """Graph, XLA and JAX as eager: outputs, losses and gradients, with padding for routers."""
    arguments = arguments_of(entry, x)
    if entry.kind == "router":
        arguments["mask"] = MASK
    reference = None
    for one in ("eager", mode) if TENSORFLOW else (mode,):
        layer = with_drawn_weights(layer_of(entry), x)
        result = step(layer, x, one, training=False, **arguments)
        arrays = [*keras.tree.flatten(result.outputs), result.input_gradient, *result.gradients]
        assert all(np.isfinite(a).all() for a in arrays)
        assert any(a.any() for a in arrays) != (entry.name == "zero")
        reference = reference or agreed(entry.name, result)
        assert_same_step(result, reference, 5e-5)


@EVERY
def test_half_precision_is_close(entry, x):
    arguments = arguments_of(entry, x)
    full, half = (
        outputs_of(with_drawn_weights(layer_of(entry, dtype), x), x, QUICKEST, **arguments)
        for dtype in ("float32", "mixed_bfloat16")
    )
    for one, two in zip(half, full, strict=True):
        np.testing.assert_allclose(one, two, rtol=5e-2, atol=5e-2 * max(np.abs(two).max(), 1))


@pytest.mark.parametrize("mode", XLA_TOO)
@EVERY
def test_training_steps_are_finite(entry, mode, x):
    result = step(layer_of(entry), x, mode, training=True, **arguments_of(entry, x))
    assert np.isfinite(result.losses)
    arrays = [*keras.tree.flatten(result.outputs), result.input_gradient, *result.gradients]
    assert all(np.isfinite(a).all() for a in arrays)


@ON_TENSORFLOW
@EVERY
def test_a_saved_layer_answers_as_before(entry, x, tmp_path):
    inputs = keras.Input(x.shape[1:], name="x")
    arguments = arguments_of(entry, x)
    extra = {
        name: keras.Input(np.shape(value)[1:], name=name, dtype=np.asarray(value).dtype.name)
        for name, value in arguments.items()
        if not isinstance(value, bool | int | str | None)
    }
    fixed = {name: value for name, value in arguments.items() if name not in extra}
    outputs = layer_of(entry)(inputs, **extra, **fixed)
    model = keras.Model([inputs, *extra.values()], outputs)
    given = [x, *(arguments[name] for name in extra)]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one, two in zip(
        keras.tree.flatten(model(given)), keras.tree.flatten(again(given)), strict=True
    ):
        np.testing.assert_allclose(array(one), array(two), rtol=1e-6, atol=1e-6)


@ON_TENSORFLOW
@EVERY
def test_the_batch_may_be_unknown(entry, x):
    import tensorflow as tf

    layer = layer_of(entry)
    if not layer.built:
        layer.build(x.shape)
    arguments = arguments_of(entry, x)
    tensors = {n: tf.convert_to_tensor(v) for n, v in arguments.items()}
    given = {n: tf.TensorSpec((None, *t.shape[1:]), t.dtype) for n, t in tensors.items()}
    spec = tf.TensorSpec((None, *x.shape[1:]), "float32")
    run = tf.function(lambda x, rest: layer(x, **rest), autograph=False)
    run = run.get_concrete_function(spec, given)
    whole = outputs_of(layer, x, "eager", **arguments)
    for one, two in zip(
        keras.tree.flatten(run(tf.convert_to_tensor(x), tensors)), whole, strict=True
    ):
        np.testing.assert_allclose(array(one), two, rtol=2e-5, atol=2e-5)


@ON_TENSORFLOW
@EVERY
def test_what_the_catalogue_says_of_batches_is_so(entry, x):
    if entry.cls.card.batch_independent is not True:
        pytest.skip("the catalogue does not claim it")
    layer = layer_of(entry)
    whole = outputs_of(layer, x, QUICKEST, **arguments_of(entry, x))
    alone = outputs_of(layer, x[1:2], QUICKEST, **arguments_of(entry, x[1:2]))
    for one, two in zip(alone, whole, strict=True):
        np.testing.assert_allclose(one, two[1:2], rtol=2e-5, atol=2e-5)


@ON_TENSORFLOW
@EVERY
def test_what_the_catalogue_says_of_causality_is_so(entry, x):
    if entry.cls.card.causal is not True:
        pytest.skip("the catalogue does not claim it")
    layer = layer_of(entry)
    later = x.copy()
    later[:, 5:] = np.random.default_rng(1).normal(size=later[:, 5:].shape)
    arguments = arguments_of(entry, x)  # equal for both: what context says is the caller's matter
    one, two = (outputs_of(layer, value, QUICKEST, **arguments) for value in (x, later))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_allclose(first[:, :5], second[:, :5], rtol=2e-5, atol=2e-5)


@ON_TENSORFLOW
@ROUTER
def test_padding_gets_nothing_and_changes_nothing(entry, x):
    other = np.where(MASK[..., None], x, 30.0).astype("float32")
    arguments = arguments_of(entry, x)
    one, two = (
        step(layer_of(entry), value, training=False, mask=MASK, **arguments) for value in (x, other)
    )
    first, second = (keras.tree.flatten(s.outputs)[0] for s in (one, two))  # the state is behind
    np.testing.assert_allclose(first[:, :5], second[:, :5], rtol=2e-5, atol=2e-5)
    assert not second[:, 5:].any()
    np.testing.assert_allclose(
        one.input_gradient[:, :5], two.input_gradient[:, :5], rtol=5e-5, atol=5e-5
    )


@ON_TENSORFLOW
@ROUTER
def test_routing_is_float32_under_every_policy(entry, x):
    router = make(entry)
    router.build(x.shape)
    half = ops.cast(ops.convert_to_tensor(x), "bfloat16")
    context = context_of(entry, x)
    decision = router(half, context=context)
    assert keras.backend.standardize_dtype(decision.weights.dtype) == "float32"
    assert keras.backend.standardize_dtype(decision.probabilities.dtype) == "float32"


@ON_TENSORFLOW
@ROUTER
def test_statistics_have_the_promised_shapes(entry, x):
    router = make(entry)
    router.build(x.shape)
    context = context_of(entry, x)
    decision = router(x, context=context)
    assert tuple(decision.probabilities.shape) == (24, EXPERTS)
    assert tuple(decision.statistics["load"].shape) == (EXPERTS,)
    np.testing.assert_allclose(array(decision.statistics["load"]).sum(), 1, rtol=1e-5)
    assert tuple(decision.weight_of_expert().shape) == (24, EXPERTS)


@ON_TENSORFLOW
@pytest.mark.parametrize("entry", BANK_ENTRIES, ids=str)
def test_all_call_forms_of_a_bank_agree(entry):
    bank: ExpertBank = make(entry)
    shape = (3, FEATURES) if getattr(bank, "whole_samples", False) else (FEATURES,)
    rows = np.random.default_rng(2).normal(size=(EXPERTS, 4, *shape)).astype("float32")
    bank.build((None, None, *shape))
    stacked = array(bank(rows))
    assert stacked.shape[-1] == bank.features_out(FEATURES)
    cut = bank([rows[0], rows[1][:2], *(row[:0] for row in rows[2:])])
    np.testing.assert_allclose(array(cut[0]), stacked[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(array(cut[1]), stacked[1][:2], rtol=1e-5, atol=1e-5)
    assert cut[2].shape[0] == 0
    ids = np.array([0, 2, 2, 3], "int32")
    by_id = array(bank(rows[ids], expert_ids=ids))
    np.testing.assert_allclose(by_id, stacked[ids], rtol=1e-5, atol=1e-5)
    same = array(bank(rows[:1]))
    expected = array(bank(rows[[0] * EXPERTS]))
    np.testing.assert_allclose(same, expected, rtol=1e-5, atol=1e-5)


@EVERY
def test_ours_have_a_card(entry):
    if entry.cls.__module__.startswith("moe_apps."):
        assert vars(entry.cls).get("card"), f"{entry.cls.__name__} is entered without `listed`"
