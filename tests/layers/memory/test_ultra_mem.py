from __future__ import annotations

from math import erf

import keras
import numpy as np
import pytest

from keras_modes import TENSORFLOW, array, in_mode
from moe_apps.layers import UltraMem, ValueTable
from moe_apps.layers.memory.ultra_mem import leading_vectors

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="shown once, on TensorFlow")

SIZES = {"num_keys": 6, "k": 3, "heads": 2, "key_dim": 5, "value_dim": 4, "gate_dim": 3}


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 4, 6)).astype("float32")


def make(**settings) -> UltraMem:
    layer = UltraMem(name="memory", **{**SIZES, **settings})
    layer.build((None, None, 6))
    draw = np.random.default_rng(2).normal
    layer.set_weights([draw(size=weight.shape) for weight in layer.get_weights()])
    return layer


def axis_scores(layer: UltraMem, token: np.ndarray) -> np.ndarray:
    """`(2, heads, rank, keys)` of one token."""
    keys = array(layer.keys)

    def normal(v: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return v / np.sqrt((v**2).mean(axis=-1, keepdims=True)) * scale

    queries = (token @ array(layer.query)).reshape(keys.shape[:3] + keys.shape[4:])
    return np.einsum(
        "ahrc,ahric->ahri",
        normal(queries, array(layer.query_scale)),
        normal(keys, array(layer.key_scale)),
    )


def leading(core: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    left, _, right = np.linalg.svd(core)
    sign = np.sign(left[np.abs(left[:, 0]).argmax(), 0])
    return sign * left[:, 0], sign * right[0]


def by_hand(layer: UltraMem, token: np.ndarray) -> np.ndarray:
    scores, cores = axis_scores(layer, token), array(layer.core)
    values, gates = array(layer.rows.values), array(layer.rows.gates)
    outputs = np.zeros(layer.value_dim)
    for head in range(layer.heads):
        first, second = scores[0, head], scores[1, head]  # (rank, keys)
        u, v = leading(cores[:, head].sum(axis=0))
        rows, columns = np.argsort(-(u @ first))[: layer.k], np.argsort(-(v @ second))[: layer.k]
        cells = [(i, j) for i in rows for j in columns]
        grid = [[first[:, i] @ core @ second[:, j] for core in cores[:, head]] for i, j in cells]
        for best in np.argsort(-np.sum(grid, axis=-1))[: layer.k]:
            i, j = cells[best]
            row = i * layer.num_keys + j + layer.offset
            gate = (token @ array(layer.gate)) @ gates[row]
            gate = gate * (1 + erf(gate / np.sqrt(2))) / 2
            parts = np.split(values[row], layer.cores)
            outputs += gate * np.concatenate(
                [score * part for score, part in zip(grid[best], parts, strict=True)]
            )
    return outputs @ array(layer.output_kernel)


@pytest.mark.parametrize("settings", [{}, {"rank": 3, "cores": 1}], ids=str)
def test_it_is_the_formula(x, settings):
    layer = make(**settings)
    expected = [by_hand(layer, token) for token in x.reshape(-1, 6)]
    outputs = array(layer(x)).reshape(-1, 6)
    np.testing.assert_allclose(outputs, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_the_leading_vectors_are_those_of_the_decomposition(rank, mode):
    cores = np.random.default_rng(3).normal(size=(20, rank, rank)).astype("float32")
    values = np.linalg.svd(cores, compute_uv=False)
    if rank > 1:  # where two values are nearly equal their vectors are not determined
        cores = cores[values[:, 1] < 0.98 * values[:, 0]]
    u, v = in_mode(leading_vectors, mode)(cores)
    expected = [leading(core) for core in cores]
    np.testing.assert_allclose(u, [left for left, _ in expected], atol=1e-3)
    np.testing.assert_allclose(v, [right for _, right in expected], atol=1e-3)


def test_the_leading_vectors_are_finite_for_every_core():
    cores = np.stack([np.zeros((2, 2)), np.eye(2), 1e-9 * np.ones((2, 2)), 1e9 * np.eye(2)])
    for vectors in leading_vectors(cores.astype("float32")):
        assert np.isfinite(array(vectors)).all()
    u, v = leading_vectors(np.eye(2, dtype="float32"))
    np.testing.assert_allclose(array(u), array(v))


def test_a_core_of_rank_one_makes_scores_separable():
    draw = np.random.default_rng(4).random
    core = np.outer(draw(3), draw(3)).astype("float32")
    first, second = draw((3, 8)) - 0.5, draw((3, 8)) - 0.5
    u, v = (array(vector) for vector in leading_vectors(core))
    size = np.linalg.svd(core, compute_uv=False)[0]
    np.testing.assert_allclose(
        first.T @ core @ second, size * np.outer(u @ first, v @ second), rtol=1e-3, atol=1e-5
    )


def found_and_best(layer: UltraMem, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells that the layer reads, and the best ones of the whole grid, both sorted."""
    found = array(layer(x, return_routing=True)[1]["indices"]).reshape(-1, layer.heads, layer.k)
    core = array(layer.core).sum(axis=0)
    best = []
    for token in x.reshape(-1, 6):
        first, second = axis_scores(layer, token)
        grid = np.einsum("hri,hrs,hsj->hij", first, core, second)
        best.append(np.argsort(-grid.reshape(layer.heads, -1))[:, : layer.k])
    return np.sort(found), np.sort(best)


def test_with_rank_one_and_scores_above_zero_the_search_is_exact(x):
    layer = make(cores=1)
    for weight in (layer.query, layer.keys, layer.query_scale, layer.key_scale):
        weight.assign(np.abs(array(weight)))
    outer = np.outer([1.0, 2.0], [3.0, 1.0])
    layer.core.assign(np.broadcast_to(outer, (1, 2, 2, 2)))
    np.testing.assert_array_equal(*found_and_best(layer, np.abs(x)))


def test_where_signs_mix_the_search_may_miss_the_best(x):
    found, best = found_and_best(make(), x)
    assert (found != best).any()


def test_no_more_rows_are_read_than_heads_times_k(x):
    outputs, routing = make()(x, return_routing=True)
    indices = array(routing["indices"])
    assert indices.shape == array(routing["weights"]).shape == (2, 4, 2, 3)
    assert tuple(outputs.shape) == x.shape
    assert indices.min() >= 0 and indices.max() < 36


def test_cores_start_with_vectors_above_zero():
    layer = UltraMem(**SIZES)
    layer.build((None, 6))
    for vectors in leading_vectors(np.sum(array(layer.core), axis=0)):
        assert (array(vectors) > 0).all()


def test_two_layers_read_their_own_rows_of_one_table(x, tmp_path):
    table = ValueTable(72, value_dim=4, gate_dim=3, name="table")
    first, second = (
        UltraMem(**SIZES, table=table, offset=offset, name=f"memory_{offset}") for offset in (0, 36)
    )
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, second(first(inputs)))
    draw = np.random.default_rng(2).normal
    model.set_weights([draw(size=weight.shape) for weight in model.get_weights()])
    expected = array(model(x))
    assert [weight.name for weight in model.weights].count("values") == 1

    before = array(first(x))
    table.values.assign(np.concatenate([array(table.values)[:36], np.zeros((36, 4))]))
    np.testing.assert_array_equal(array(first(x)), before)
    assert not array(second(x)).any()

    model.set_weights([draw(size=weight.shape) for weight in model.get_weights()])
    expected = array(model(x))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(again(x)), expected, rtol=1e-5, atol=1e-5)
    assert len(again.weights) == len(model.weights)
    assert again.layers[1].rows is again.layers[2].rows


def test_padding_gets_nothing_and_enters_no_loss(x):
    layer = make(balance_loss_weight=0.5)
    mask = np.broadcast_to(np.arange(4) < 3, (2, 4))
    outputs = array(layer(x, mask=mask, training=True))
    padded = array(sum(layer.losses))
    assert not outputs[:, 3:].any()
    np.testing.assert_allclose(
        outputs[:, :3], array(layer(x[:, :3], training=True)), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(padded, array(sum(layer.losses)), rtol=1e-5)
    layer(x)
    assert not layer.losses


def test_the_balance_loss_is_the_formula(x):
    layer = make(balance_loss_weight=0.5, heads=1)
    layer(x, training=True)
    total = 0.0
    vectors = leading(array(layer.core)[:, 0].sum(axis=0))
    for axis, vector in enumerate(vectors):
        scores = np.array([vector @ axis_scores(layer, t)[axis, 0] for t in x.reshape(-1, 6)])
        powers = np.exp(scores)
        mean = (powers / powers.sum(axis=-1, keepdims=True)).mean(axis=0)
        used = np.bincount(np.argsort(-scores)[:, :3].ravel(), minlength=6) / (8 * 3)
        total += 6 * (mean * used).sum()
    np.testing.assert_allclose(array(sum(layer.losses)), 0.5 * total / 2, rtol=1e-3)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"k": 7}, "`k` is 7, but an axis has only 6 keys"),
        ({"rank": 0}, r"`rank` must be at least 1\. Received: 0"),
        ({"cores": 3}, r"`cores` must divide the width of values, 4\. Received: 3"),
        ({"offset": 1}, r"has 36 rows, but this layer needs 36 .*Received: offset=1"),
        ({"table": ValueTable(20, 4, 3)}, "has 20 rows, but this layer needs 36"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        UltraMem(**{**SIZES, **settings})
    with pytest.raises(ValueError, match=r"`rows` must be at least 1\. Received: 0"):
        ValueTable(0, 4, 3)
