from __future__ import annotations

import pytest

from moe_apps.pipelines.reading import reading


@pytest.mark.parametrize(
    ("load", "sentence"),
    [
        ([1.0], "There is one expert."),
        ([0.3, 0.25, 0.25, 0.2], "4 experts share alike (20 % to 30 %)."),
        ([0.6, 0.4, 0.0, 0.0],
         "Expert 0 has the most of 4 (60 %), expert 2 the least (0 %); "
         "2 of them have next to nothing to do."),
    ],
)  # fmt: skip
def test_shares(load, sentence):
    assert reading(load) == sentence


def test_factors_in_order_and_what_chance_tells_as_well():
    tells = {"hour": 0.02, "series": 0.3, "season": 0.004, "weekday": 0.05}
    said = reading([0.5, 0.5], tells=tells, by_chance={"weekday": True, "hour": False})
    assert said.endswith(
        "Knowing the expert tells most about series (0.30 of 1) and hour (0.02 of 1), no more "
        "than chance about weekday, next to nothing about season."
    )


def test_what_explains_the_weights():
    said = reading([0.5, 0.5], tells={"level": 0.08, "kind": 0.0}, explained=True)
    assert said.endswith("Weights depend most on level (0.08 of 1), hardly on kind.")


def test_leaders_of_groups():
    groups = {"rain": [0.9, 0.1], "snow": [0.2, 0.8], "haze": [0.6, 0.4]}
    said = reading([0.6, 0.4], names=["mean", "blur"], groups=groups)
    assert said.endswith(
        "The largest share has mean in rain (90 %) and haze (60 %); blur in snow (80 %)."
    )
    said = reading([0.6, 0.4], names=["mean", "blur"], groups={"a": [0.9, 0.1], "b": [0.6, 0.4]})
    assert said.endswith("The largest share has mean in all of a and b.")
    said = reading([0.5, 0.5], groups={"a": [0.51, 0.49], "b": [0.1, 0.9]})
    assert said.endswith("The largest share has expert 1 in b (90 %).")  # in a nobody leads
    many = {str(n): [0.5, 0.5] for n in range(24)}
    assert reading([0.5, 0.5], groups=many) == "2 experts share alike (50 % to 50 %)."
