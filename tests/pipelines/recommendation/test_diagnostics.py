from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.recommendation.diagnostics import failure_signs, routing_summary
from small_rankers import inputs_of, make, rows


def signs(model) -> set[tuple[str, str]]:
    found = failure_signs(model, inputs_of(model, rows(64)))
    return {(row["sign"], row["where"]) for row in found["signs"]}


def test_gates_are_summed_up_by_domain():
    weights = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = routing_summary({"click": weights}, np.array(["a", "a", "b", "b"]))["click"]
    assert found["weight"] == [0.5, 0.5] and found["entropy"] == 0 and found["active"] == 1
    assert found["by_domain"] == {"a": [1, 0], "b": [0, 1]}
    assert found["specialisation"] == pytest.approx(1)
    mixed = routing_summary({"click": weights}, np.array(["a", "b", "a", "b"]))["click"]
    assert mixed["specialisation"] == pytest.approx(0, abs=1e-9)


def test_a_healthy_pool_has_no_sign_and_an_expert_off_the_scale_or_dead_has_one():
    model = make("mmoe", num_experts=3)
    experts = model.body.experts
    for weight in experts.weights:  # alive for any input
        if "bias" in weight.name:
            weight.assign(np.full(weight.shape, 2.0))
    assert not {sign for sign, _ in signs(model)} & {"collapse"}
    kernel, bias = (np.array(weight) for weight in experts.weights)
    kernel[1] *= 100
    bias[2] = -1e4
    experts.weights[0].assign(kernel)
    experts.weights[1].assign(bias)
    assert {("collapse", "shared_1"), ("collapse", "shared_2")} <= signs(model)


def test_a_shared_expert_of_one_task_and_a_task_that_leaves_its_own_are_found():
    model = make("cgc", specific=1, shared=2)
    # Gates read the row's vector: through a constant number they become what we like.
    values = rows(64)
    values["dense"][:] = 1
    for task, gate in model.body.extractions[0].pool.gates.items():
        kernel = np.zeros(gate.kernel.shape)
        # Seen: own expert, shared 0, shared 1.
        kernel[-1] = {"click": [-9, 9, -9], "minutes": [9, -9, 0], "buy": [9, -9, 0]}[task]
        gate.kernel.assign(kernel)
    found = failure_signs(model, inputs_of(model, values))
    named = {(row["sign"], row["where"]) for row in found["signs"]}
    assert ("degradation", "shared_0") in named and ("degradation", "shared_1") not in named
    assert ("underfitting", "click") in named and ("underfitting", "buy") not in named
    weights = {row["expert"]: row["weight: click"] for row in found["experts"]}
    assert weights["shared_0"] > 0.99 and weights["buy_0"] == 0


def test_looking_leaves_the_model_as_it_was():
    model = make("home")
    before = {name: np.array(value) for name, value in model(rows()).items()}
    found = failure_signs(model, inputs_of(model, rows(64)))
    assert len(found["experts"]) > 10
    for name, value in model(rows()).items():
        np.testing.assert_array_equal(np.array(value), before[name])
