from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import QUICKEST, TENSORFLOW, array, in_mode
from moe_apps.layers import DSelectK
from moe_apps.models.recommendation import (
    SYSTEMS,
    Categorical,
    Fields,
    History,
    MMoE,
    SharedBottom,
    TaskLoss,
    TaskSpec,
)
from moe_apps.models.recommendation.aw_moe import contrastive_loss
from moe_apps.models.recommendation.behaviour import kept_at_random
from small_rankers import FIELDS, TASKS, inputs_of, make, rows

COMPILED = ("mmoe", "aw_moe", "adapt_dhm", "mtmt", "magnet")
"""Systems with parts of their own; the others are layers that are tested in all modes elsewhere."""

eagerly = pytest.mark.skipif(not TENSORFLOW, reason="JAX compiles op by op where it runs eagerly")


@pytest.mark.parametrize("name", SYSTEMS if TENSORFLOW else COMPILED)
def test_every_system_answers_each_task_alike_in_all_modes_and_after_saving(name, tmp_path):
    model = make(name)
    values = inputs_of(model, rows())
    answers = in_mode(lambda given: model(given), QUICKEST)(values)
    assert set(answers) == {task.name for task in TASKS}
    assert all(value.shape == (6,) and value.dtype == "float32" for value in answers.values())
    assert np.ptp(answers["click"]) > 0
    for mode in ("graph", "xla") if TENSORFLOW and name in COMPILED else ():
        compiled = in_mode(lambda given: model(given), mode)(values)
        for task, value in answers.items():
            np.testing.assert_allclose(compiled[task], value, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    read_back = in_mode(lambda given: again(given), QUICKEST)(values)
    for task, value in answers.items():
        np.testing.assert_allclose(read_back[task], value, rtol=1e-6)


@eagerly
@pytest.mark.parametrize("name", ["mmoe", "aw_moe", "mtmt", "adapt_dhm"])
def test_a_rows_answer_does_not_depend_on_its_batch(name):
    model = make(name)
    values = inputs_of(model, rows())
    alone = {key: value[2:3] for key, value in values.items()}
    for task, value in model(values).items():
        np.testing.assert_allclose(array(model(alone)[task])[0], array(value)[2], rtol=1e-5)


@pytest.mark.skipif(not TENSORFLOW, reason="one backend's fit is enough")
@pytest.mark.parametrize("name", ["mmoe", "aw_moe", "mtmt"])
def test_every_weight_but_that_of_unread_rows_learns(name):
    model = make(name)
    values = inputs_of(model, rows(64, seed=1))
    random = np.random.default_rng(2)
    targets = {t.name: random.integers(0, 2, 64).astype("float32") for t in TASKS}
    before = [array(variable) for variable in model.trainable_variables]
    kinds = {
        t.name: "mean_squared_error"
        if t.kind == "regression" or not model.from_logits
        else "binary_crossentropy"
        for t in TASKS
    }
    losses = {name: TaskLoss(kind) for name, kind in kinds.items()}
    model.compile(keras.optimizers.Adam(0.01), losses, run_eagerly=True)
    history = model.fit(values, targets, epochs=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    still = [
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(array(variable), old)
    ]
    assert still == []


@eagerly
def test_fields_of_one_length_share_a_table_with_rows_of_their_own():
    model = make("shared_bottom")
    assert {d: tuple(t.shape) for d, t in model.embedding.tables.items()} == {4: (16, 4), 2: (5, 2)}
    table = array(model.embedding.tables[4])
    values = rows()
    x = array(model.embedding(values))
    np.testing.assert_allclose(x[1, :4], table[values["categorical"][1, 0]])
    np.testing.assert_allclose(x[1, 4:8], table[7 + values["categorical"][1, 1]])
    seen = values["sequence_seen"][1]
    expected = table[7 + seen[seen > 0]].mean(axis=0)
    np.testing.assert_allclose(x[1, 10:14], expected, rtol=1e-5)
    np.testing.assert_array_equal(x[0, 10:14], 0)  # an empty history
    np.testing.assert_array_equal(x[:, -2:], values["dense"])


def test_fields_survive_their_config():
    assert Fields.from_config(FIELDS.config()) == FIELDS


def test_an_unlabelled_row_has_no_part_in_a_loss_or_its_gradient():
    loss = TaskLoss("binary_crossentropy")
    labels = np.array([1.0, np.nan, 0.0], "float32")
    logits = np.array([0.3, 9.0, -0.2], "float32")
    p = 1 / (1 + np.exp(-logits[[0, 2]]))
    expected = -(np.log(p[0]) + np.log(1 - p[1])) / 2
    np.testing.assert_allclose(float(loss(labels, logits)), expected, rtol=1e-5)
    assert float(loss(np.full(2, np.nan, "float32"), np.ones(2, "float32"))) == 0
    if TENSORFLOW:
        import tensorflow as tf

        tensor = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = loss(labels, tensor)
        gradient = tape.gradient(value, tensor).numpy()
        assert np.isfinite(gradient).all() and gradient[1] == 0 and gradient[0] != 0


# === AW-MoE ===


@eagerly
def test_without_history_aw_moe_uses_its_default_gate():
    model = make("aw_moe")
    model.default_gate.assign(np.full((3, 3), 0.7))
    gates = model.explain(rows())[1]
    np.testing.assert_allclose(array(gates["click"])[0], 0.7, rtol=1e-6)
    assert not np.allclose(array(gates["click"])[1], 0.7)


@eagerly
def test_padding_is_no_behaviour():
    model, values = make("aw_moe"), rows()
    values["sequence_seen"][1] = [3, 4, 0, 0, 0]
    first = array(model.explain(values)[1]["click"])[1]
    values["sequence_genres"][1, 3] = (values["sequence_genres"][1, 3] + 1) % 5
    again = array(model.explain(values)[1]["click"])[1]
    np.testing.assert_array_equal(first, again)


@eagerly
def test_the_contrastive_loss_is_there_in_training_only_and_leaves_out_rows_of_the_same_user():
    model = make("aw_moe", contrastive_weight=1.0, mask_probability=0.5)
    model(rows(), training=False)
    assert not model.losses
    model(rows(), training=True)
    assert len(model.losses) == 1 and float(model.losses[0]) > 0
    gate = np.random.default_rng(0).normal(size=(3, 1, 4)).astype("float32")
    one_user = contrastive_loss(gate, gate, np.zeros(3, "int32"), np.ones(3, bool), 0.5)
    np.testing.assert_allclose(float(one_user), 0, atol=1e-6)
    unknown = contrastive_loss(gate, gate, np.full(3, -1, "int32"), np.ones(3, bool), 0.5)
    assert float(unknown) > 0.1


def test_dropping_behaviours_keeps_one_of_each_row():
    mask = np.array([[True, True, False], [False, False, False], [True, False, False]])
    kept = array(kept_at_random(mask, 1.0, keras.random.SeedGenerator(0)))
    assert kept.sum(axis=1).tolist() == [1, 0, 1] and not (kept & ~mask).any()


def test_aw_moe_needs_a_sequence():
    with pytest.raises(ValueError, match="sequence"):
        SYSTEMS["aw_moe"](Fields(dense=("age",)), [TaskSpec("click")])


# === MTMT ===


@eagerly
def test_effects_start_at_0_and_increments_sum_to_0():
    model, values = make("mtmt"), rows()
    effects = model.effects(values)
    np.testing.assert_allclose(array(effects["click"]), 0, atol=1e-6)
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape) * 0.5)
    arms = array(model.arms(values)[0]["click"])  # (rows, 1 + treatments)
    outcome = array(model(values)["click"])
    np.testing.assert_allclose(outcome, arms[np.arange(6), values["treatment"]], rtol=1e-5)
    effect = array(model.effects(values)["click"])
    np.testing.assert_allclose(effect, arms[:, 1:] - arms[:, :1], rtol=1e-4, atol=1e-5)
    assert np.ptp(effect, axis=1).min() > 0  # treatments differ
    control = {name: value for name, value in values.items() if name != "treatment"}
    np.testing.assert_allclose(array(model(control)["click"]), arms[:, 0], rtol=1e-5)
    assert ((arms[:, 0] > 0) & (arms[:, 0] < 1)).all()


@eagerly
def test_one_treatment_has_a_base_effect_and_no_increment():
    model = make("mtmt", treatments=1)
    assert array(model.effects(rows())["buy"]).shape == (6, 1)


# === MAGNET ===


@eagerly
def test_vectors_of_neighbours_are_mixed_and_lonely_ones_only_shrink():
    model = make("magnet")
    table = array(model.embedding.tables[4])
    nodes = array(model.nodes())  # 7 users, then 9 films
    np.testing.assert_allclose(nodes[5], table[5] / 3, rtol=1e-5)
    x, views = table[:16], []  # both views by hand
    for edges in ([(1, 9), (1, 10), (2, 10)], [(1, 9), (1, 10), (2, 10), (9, 10), (10, 11)]):
        a = np.zeros((16, 16))
        for first, second in edges:
            a[first, second] = a[second, first] = 1
        degree = a.sum(axis=0)
        a = a / np.sqrt(np.maximum(np.outer(degree, degree), 1))
        views.append((x + a @ x + a @ a @ x) / 3)
    np.testing.assert_allclose(nodes, sum(views) / 2, rtol=1e-4, atol=1e-6)


@eagerly
def test_coverage_turns_to_specialisation_once_it_has_lasted():
    model = make("magnet", covered=0.5, patience=3)
    for _ in range(60):
        model(rows(64), training=True)
    assert float(model.stage) == 1
    gates = array(model.explain(rows())[1]["roles"])
    assert ((gates > 0).sum(axis=1) == 2).all()


# === AdaptDHM, sparse gates, crossing ===


@eagerly
def test_each_row_goes_to_one_cluster():
    weights = array(make("adapt_dhm").explain(rows())[1]["cluster"])
    assert weights.shape == (6, 3) and ((weights == 0) | (weights == 1)).all()
    assert (weights.sum(axis=1) == 1).all()


@eagerly
def test_a_sparse_gate_takes_the_place_of_the_softmax():
    model = make("mmoe", router=DSelectK(k=1, gamma=1e-3), num_experts=4)
    for gate in model.body.pool.gates.values():
        gate.router.kernel.assign(np.random.default_rng(0).normal(size=gate.router.kernel.shape))
    weights = array(model.explain(rows())[1]["buy"])
    assert ((weights > 0).sum(axis=1) == 1).all()


@eagerly
def test_crossing_adds_layers_before_the_experts(tmp_path):
    pytest.importorskip("keras_rs")
    plain, crossed = make("mmoe"), make("mmoe", crossing=2)
    width = plain.embedding.width
    assert crossed.count_params() - plain.count_params() == 2 * (width * width + width)
    crossed.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    values = inputs_of(crossed, rows())
    np.testing.assert_array_equal(array(again(values)["buy"]), array(crossed(values)["buy"]))


def test_parameters_by_hand():
    fields = Fields(("age",), (Categorical("film", 9, 4),), (History("seen", "film", 5),))
    width = 4 + 4 + 1
    bottom = SharedBottom(fields, TASKS[:2], units=(8,), tower_units=(3,))
    tower = 8 * 3 + 3 + 3 + 1
    assert bottom.count_params() == 9 * 4 + width * 8 + 8 + 2 * tower
    mmoe = MMoE(fields, TASKS[:2], num_experts=4, units=(8,), tower_units=(3,))
    assert mmoe.count_params() == 9 * 4 + 4 * (width * 8 + 8) + 2 * 4 * width + 2 * tower
