from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from moe_apps.errors import RunError
from moe_apps.pipelines.domain import Classification, Served
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.registry import DOMAINS
from moe_apps.serving import export as exporting
from moe_apps.serving.classify_signature import classify_signature
from moe_apps.serving.export import export
from moe_apps.serving.version_folders import difference
from moe_apps.serving.warm_up import read_warm_up
from tiny_forecaster import HORIZON, TinyForecasting, history

BARE = """
import sys
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
default, fixed, explain = (
    model.signatures[name] for name in ("serving_default", "fixed_horizon", "explain")
)
asked = np.load(sys.argv[2])
answers = {}
for name in asked:
    history = tf.constant(asked[name])
    for horizon in (1, 6, 100):
        answer = default(history=history, horizon=tf.constant(horizon))
        answers[f"{name}.{horizon}"] = answer["forecast"]
    answers[f"{name}.fixed"] = fixed(history=history)["forecast"]
answers["shares"] = explain(history=history, horizon=tf.constant(2))["expert_shares"]
try:
    default(history=history, horizon=tf.constant(0))
except tf.errors.InvalidArgumentError as error:
    answers["refused"] = np.array("horizon must be at least 1" in str(error))
np.savez(sys.argv[3], **answers)
assert "moe_apps" not in sys.modules
"""


@pytest.fixture(scope="module")
def served(run: RunFolder, tiny_domain: TinyForecasting) -> Served:
    return tiny_domain.served(run)


def card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "MODEL.json").read_text())


def test_answers_in_a_process_with_tensorflow_only(
    run: RunFolder, served: Served, tmp_path: Path
) -> None:
    gappy = history(2)
    gappy[0, :3] = gappy[1, 7] = np.nan
    asked = {"many": history(7), "one": history(1, 1), "long": history(2, 99), "gappy": gappy}
    np.savez(tmp_path / "asked.npz", **asked)
    command = [sys.executable, "-I", "-c", BARE, str(run.saved_model.resolve() / "1")]
    subprocess.run([*command, "asked.npz", "answers.npz"], cwd=tmp_path, check=True, timeout=600)
    answers = np.load(tmp_path / "answers.npz")
    for name, values in asked.items():
        for horizon in (1, 6, 100):
            expected = served.signatures["serving_default"](values, horizon)["forecast"]
            np.testing.assert_allclose(answers[f"{name}.{horizon}"], expected, atol=1e-4)
        expected = served.signatures["fixed_horizon"](values)["forecast"]
        np.testing.assert_allclose(answers[f"{name}.fixed"], expected, atol=1e-4)
    expected = served.signatures["explain"](gappy, 2)["expert_shares"]
    np.testing.assert_allclose(answers["shares"], expected, atol=1e-5)
    assert answers["refused"]


def test_the_card_tells_names_shapes_results_and_versions(run: RunFolder) -> None:
    content = card(run.saved_model / "1")
    float32 = {"dtype": "float32", "shape": [None, None]}
    assert content["signatures"]["serving_default"] == {
        "inputs": {"history": float32, "horizon": {"dtype": "int32", "shape": []}},
        "outputs": {"forecast": float32},
    }
    assert content["signatures"]["fixed_horizon"] == {
        "inputs": {"history": float32},
        "outputs": {"forecast": {"dtype": "float32", "shape": [None, HORIZON]}},
    }
    shares = content["signatures"]["explain"]["outputs"]["expert_shares"]
    assert shares == {"dtype": "float32", "shape": [None, 1, 4]}
    assert content["results"] == {
        "metric": "mae",
        "higher_is_better": False,
        "test": 0.5,
        "dense_twin": None,
        "baselines": {"zero": 2.0},
    }
    assert content["unit"] == "degrees"
    assert set(content["run"]) == {"created", "mlflow_run"}
    assert content["made_with"]["tensorflow"] == tf.__version__
    request = json.loads((run.saved_model / "1" / content["example"]).read_text())
    assert np.shape(request["inputs"]["history"]) == history(2).shape
    assert request["inputs"]["horizon"] == HORIZON


def test_has_the_weights_alone_and_nothing_compiled_ahead(run: RunFolder) -> None:
    folder = run.saved_model / "1"
    model = keras.saving.load_model(run.model_file)
    assert model.optimizer.variables
    written = [
        shape
        for name, shape in tf.train.list_variables(str(folder / "variables" / "variables"))
        if not name.startswith("_CHECKPOINTABLE")
    ]
    weights = [list(variable.shape) for variable in model.trainable_variables]
    assert sorted(written) == sorted(weights)
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    assert len(functions) > 5
    assert not any(function.attr["_XlaMustCompile"].b for function in functions)


def test_what_is_needed_to_check_and_to_warm_up_is_there(run: RunFolder) -> None:
    folder = run.saved_model / "1"
    assert card(folder)["files"].keys() == {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    } - {"MODEL.json"}
    assert difference(folder, card(folder)["files"]) is None
    assert card(folder)["licence"]
    logs = {log.predict_log.request.model_spec.signature_name: log for log in read_warm_up(folder)}
    assert logs.keys() == {"serving_default", "fixed_horizon", "explain"}
    request = logs["serving_default"].predict_log.request
    assert request.model_spec.name == "tiny"
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["history"]), history(2))


class Cars(TinyForecasting):
    """Text by a table, for one user; and whether a car is fast, as classes."""

    def served(self, run: RunFolder) -> Served:
        keys = tf.constant(["audi", "fiat"])
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, tf.constant([3.0, 1.0])), 0.0
        )
        spec = [
            tf.TensorSpec((None,), tf.string, name="car"),
            tf.TensorSpec((None, 2), tf.float32, name="size"),
            tf.TensorSpec((None,), tf.int32, name="age"),
        ]

        @tf.function(input_signature=spec)
        def speed(car: Any, size: Any, age: Any) -> dict[str, Any]:
            speed = table.lookup(car) + tf.reduce_sum(size, axis=1) - tf.cast(age, tf.float32)
            return {"speed": speed, "share": tf.nn.softmax(tf.stack([-speed, speed], axis=1))}

        @tf.function(input_signature=spec)
        def of_one(car: Any, size: Any, age: Any) -> dict[str, Any]:
            tf.debugging.assert_equal(tf.size(car), 1, "for one car")
            return {"speed": speed(car, size, age)["speed"]}

        example = {
            "car": np.array(["fiat", "opel"], object),
            "size": np.ones((2, 2), np.float32),
            "age": np.array([1, 2], np.int32),
        }
        return Served(
            keras.Model(),
            {"serving_default": speed, "of_one": of_one},
            example,
            {"licence": "CC0"},
            resources=(table,),
            classification=Classification("serving_default", "share", ("slow", "fast")),
        )


def test_tables_classes_and_requests_of_a_signature_for_one_row(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DOMAINS._entries, "tiny", Cars())
    folder = export(run, tmp_path)
    assert card(folder)["licence"] == "CC0"
    default = tf.saved_model.load(folder).signatures["serving_default"]
    example = {
        "car": tf.constant(["audi", "new"]),
        "size": tf.constant([[1.0, 2.0], [0.0, 0.5]]),
        "age": tf.constant([4, 0]),
    }
    np.testing.assert_allclose(default(**example)["speed"], [2.0, 0.5])
    requests = {
        log.predict_log.request.model_spec.signature_name: tf.make_ndarray(
            log.predict_log.request.inputs["car"]
        ).tolist()
        for log in read_warm_up(folder)
    }
    assert requests == {"serving_default": [b"fiat", b"opel"], "of_one": [b"fiat"]}

    classify = tf.saved_model.load(folder).signatures["classify"]
    features = {
        "car": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"audi"])),
        "size": tf.train.Feature(float_list=tf.train.FloatList(value=[1, 2])),
        "age": tf.train.Feature(int64_list=tf.train.Int64List(value=[4])),
    }
    one = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    answer = classify(inputs=tf.constant([one, one]))
    assert answer["classes"].numpy().tolist() == [[b"slow", b"fast"]] * 2
    np.testing.assert_allclose(answer["scores"][1], tf.nn.softmax([-2.0, 2.0]), atol=1e-6)


def test_what_does_not_fit_an_example_is_not_classified() -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32, name="x")])
    def any_length(x: Any) -> dict[str, Any]:
        return {"y": x}

    served = Served(
        keras.Model(), {"a": any_length}, {}, classification=Classification("a", "y", ("b",))
    )
    with pytest.raises(ValueError, match=r"'x' of shape \[None, None\] does not fit"):
        classify_signature(served, served.classification)


class Doubling(TinyForecasting):
    """Quick to export; if it is noisy, no two of its answers are the same."""

    noise = 0.0

    def served(self, run: RunFolder) -> Served:
        factor = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
        def answer(x: Any) -> dict[str, Any]:
            y = factor * x + self.noise * tf.random.uniform([])
            return {"label": tf.constant(["a", "b"]), "y": tf.cast(y, tf.bfloat16)}

        return Served(keras.Model(), {"serving_default": answer}, {"x": np.ones(2, np.float32)})


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> Doubling:
    domain = Doubling()
    monkeypatch.setitem(DOMAINS._entries, "tiny", domain)
    return domain


@pytest.mark.usefixtures("doubling")
def test_versions_count_up_and_are_never_overwritten(run: RunFolder, tmp_path: Path) -> None:
    before = (run.saved_model / "1" / "saved_model.pb").read_bytes()
    with pytest.raises(RunError, match="1: exists already; versions are never overwritten"):
        export(run, run.saved_model, 1)
    assert (run.saved_model / "1" / "saved_model.pb").read_bytes() == before
    with pytest.raises(RunError, match="version is 0, expected a whole number of at least 1"):
        export(run, tmp_path, 0)
    (tmp_path / "7").mkdir()
    (tmp_path / "notes").mkdir()
    assert export(run, tmp_path, None) == tmp_path / "8"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7", "8", "notes"]
    assert card(tmp_path / "8")["version"] == 8


@pytest.mark.usefixtures("doubling")
def test_only_a_whole_model_is_ever_seen(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def interrupted(model: Any, served: Served, to: Path) -> None:
        seen.extend(path.name for path in tmp_path.iterdir())
        assert (tmp_path / seen[0] / "saved_model.pb").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "_check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(run, tmp_path, 1)
    assert len(seen) == 1
    assert not seen[0].isdecimal()
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_answers_differently_is_not_kept(
    run: RunFolder, tmp_path: Path, doubling: Doubling
) -> None:
    tf.random.set_seed(None)  # another test's seed would make the noise the same in both
    doubling.noise = 1.0
    with pytest.raises(RunError, match="'y' differs from the run's"):
        export(run, tmp_path / "new", None)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.usefixtures("doubling")
def test_half_precision_leaves_as_float32(run: RunFolder, tmp_path: Path) -> None:
    outputs = card(export(run, tmp_path))["signatures"]["serving_default"]["outputs"]
    assert {name: spec["dtype"] for name, spec in outputs.items()} == {
        "y": "float32",
        "label": "string",
    }


def test_what_stands_in_the_way_is_named(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file: cannot be written: File exists"):
        export(run, tmp_path / "file", None)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RunError, match="set KERAS_BACKEND=tensorflow"):
        export(run, tmp_path, None)
