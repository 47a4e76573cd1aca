from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from moe_apps.pipelines.recommendation.learned import learn
from moe_apps.pipelines.recommendation.preprocessing import Preprocessing
from moe_apps.pipelines.recommendation.schema import Schema
from moe_apps.pipelines.recommendation.served_inputs import RawInputs, raw_of
from moe_apps.pipelines.recommendation.table import Codes, Table

INT = {"kind": "categorical", "type": "int"}
SCHEMA = Schema.model_validate(
    {
        "fields": [
            {"name": "age", "kind": "dense"},
            {"name": "price", "kind": "dense", "transform": "log1p"},
            {"name": "film", "kind": "categorical"},
            {
                "name": "hour",
                "kind": "categorical",
                "type": "int",
                "encoding": "integer",
                "size": 24,
            },
            {"name": "query", "kind": "categorical", "encoding": "hashed", "size": 50},
            {
                "name": "number",
                "kind": "categorical",
                "type": "int",
                "encoding": "hashed",
                "size": 9,
            },
            {"name": "seen", "kind": "sequence", "of": "film", "max_length": 3},
        ],
        "tasks": [
            {"name": "like", "label": "like"},
            {"name": "stars", "label": "stars", "kind": "regression"},
        ],
    }
)


def table(rows: int = 40, seed: int = 0, films: str = "abc") -> Table:
    random = np.random.default_rng(seed)

    def text(letters: str, shape: tuple[int, ...]) -> np.ndarray:
        return random.choice(np.array([*letters, ""], object), shape)

    age = random.normal(40, 10, rows).astype(np.float32)
    age[1] = np.nan
    return Table(
        {
            "age": age,
            "price": np.exp(random.normal(3, 2, rows)).astype(np.float32),
            "film": Codes.of(text(films, (rows,))),
            "hour": Codes.of(random.integers(-1, 30, rows)),
            "query": Codes.of(text("xyzuvw", (rows,))),
            "number": Codes.of(random.integers(-1, 10**6, rows)),
            "seen": Codes.of(np.sort(text(films, (rows, 3)), axis=1)[:, ::-1]),
        },
        {
            "like": random.integers(0, 2, rows).astype(np.float32),
            "stars": random.normal(3, 2, rows).astype(np.float32),
        },
    )


@pytest.fixture(scope="module")
def preprocessing() -> Preprocessing:
    return Preprocessing.of(learn([table()], SCHEMA))


def test_training_rows_come_out_standardised_and_as_indices(preprocessing):
    inputs = preprocessing.inputs(table())
    dense = inputs["dense"]
    np.testing.assert_allclose(dense.mean(axis=0), 0, atol=1e-5)
    assert dense[1, 0] == 0  # a missing number
    film = table().columns["film"].raw()
    assert (inputs["categorical"][film == "", 0] == 0).all()
    assert set(inputs["categorical"][film != "", 0]) == {2, 3, 4}
    fields = preprocessing.fields()
    for place, field in enumerate(fields.categorical):
        assert inputs["categorical"][:, place].max() < field.size
    targets = preprocessing.labels(table())
    np.testing.assert_allclose(targets["stars"].mean(), 0, atol=1e-5)
    back = preprocessing.in_units("stars", targets["stars"])
    np.testing.assert_allclose(back, table().labels["stars"], rtol=1e-4, atol=1e-5)


def test_unknown_and_out_of_range_values_have_an_index_of_their_own(preprocessing):
    strange = table(rows=60, seed=1, films="abcd")
    inputs = preprocessing.inputs(strange)
    film, hour = strange.columns["film"].raw(), strange.columns["hour"].raw()
    assert (inputs["categorical"][film == "d", 0] == 1).all()
    assert (inputs["categorical"][hour >= 24, 1] == 1).all()
    assert (inputs["categorical"][hour == 0, 1] == 2).all()
    assert (inputs["sequence_seen"][strange.columns["seen"].raw() == "d"] == 1).all()


def test_the_served_graph_gives_the_same_inputs(preprocessing):
    strange = table(rows=60, seed=1, films="abcd")
    raw = raw_of(preprocessing, strange)
    found = RawInputs(preprocessing)({name: tf.constant(value) for name, value in raw.items()})
    for name, expected in preprocessing.inputs(strange).items():
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_served_sequences_of_any_length_are_closed_up_and_cut_at_the_front(preprocessing):
    raw = raw_of(preprocessing, table(rows=3))
    raw["film"] = np.array([" a", "b ", ""], object)  # blanks do not count
    raw["seen"] = np.array(
        [["", "a", "", "b", "c"], ["a", "b", "c", "a", "b"], ["", "", "", "", ""]], object
    )
    found = RawInputs(preprocessing)({name: tf.constant(value) for name, value in raw.items()})
    films = preprocessing.vocabularies["film"].tolist()
    of = {film: films.index(film) + 2 for film in "abc"}
    expected = [[of["a"], of["b"], of["c"]], [of["c"], of["a"], of["b"]], [0, 0, 0]]
    assert found["sequence_seen"].numpy().tolist() == expected
    assert found["categorical"].numpy()[:, 0].tolist() == [of["a"], of["b"], 0]
    raw["seen"] = np.array([["a"], [""], ["c"]], object)  # shorter than what the model reads
    found = RawInputs(preprocessing)({name: tf.constant(value) for name, value in raw.items()})
    assert found["sequence_seen"].numpy().tolist() == [[of["a"], 0, 0], [0, 0, 0], [of["c"], 0, 0]]


def test_what_is_kept_with_a_run_is_the_same_again(preprocessing, tmp_path):
    preprocessing.save(tmp_path / "preprocessing.json")
    again = Preprocessing.load(tmp_path / "preprocessing.json")
    strange = table(rows=30, seed=2, films="abcd")
    for name, expected in preprocessing.inputs(strange).items():
        np.testing.assert_array_equal(again.inputs(strange)[name], expected)
    assert again.targets == preprocessing.targets


def test_a_treatment_that_training_did_not_know_gives_no_label(preprocessing):
    rows = table(rows=4)
    arms = Codes.of(np.array(["none", "mail", "", "fax"], object))
    rows = Table(rows.columns, rows.labels, treatment=arms)
    known = Preprocessing(
        SCHEMA,
        preprocessing.vocabularies,
        preprocessing.scales,
        preprocessing.targets,
        treatments=("none", "mail"),
    )
    assert known.treatment(rows).tolist() == [0, 1, -1, -1]
    assert np.isnan(known.labels(rows)["like"]).tolist() == [False, False, True, True]
