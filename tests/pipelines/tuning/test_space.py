"""What may be searched, and mistakes in saying so."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from moe_apps.errors import ConfigError
from moe_apps.pipelines.recommendation import DOMAIN as RECOMMENDATION
from moe_apps.pipelines.tuning.space import Choice, Range, dump_space, load_space, nested, suggest
from moe_apps.registry import DOMAINS


def space(folder: Path, text: str) -> Path:
    file = folder / "space.yaml"
    file.write_text(text)
    return file


def test_a_file_is_read_and_written_again(tmp_path: Path) -> None:
    text = """
        train.learning_rate: {low: 1e-4, high: 0.01, log: true}
        model.k: {low: 1, high: 3}
        model.units: [[64, 32], [128]]
    """
    found = load_space(RECOMMENDATION, space(tmp_path, text))
    assert found["train.learning_rate"] == Range(low=1e-4, high=0.01, log=True)
    assert found["model.k"].whole
    assert load_space(RECOMMENDATION, space(tmp_path, dump_space(found))) == found
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    values = suggest(trial, found)
    assert values["model.units"] in ([64, 32], [128]) and isinstance(values["model.k"], int)
    assert 1e-4 <= values["train.learning_rate"] <= 0.01
    units = found["model.units"]
    assert (
        isinstance(units, Choice)
        and units.kept(trial.params["model.units"]) == values["model.units"]
    )
    assert nested(values)["model"]["k"] == values["model.k"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "space.yaml: names no setting"),
        ("train.rate: [1]", "space.yaml: train.rate: no such setting"),
        ("train: {learning_rate: [1]}", "train: is a section; write train.SETTING"),
        ("seed: [1, 2]", "seed: cannot be tuned; settings of model and train can"),
        ("evaluation.k: [1, 2]", "evaluation.k: cannot be tuned"),
        ("train.backend: [jax]", "train.backend: cannot be tuned"),
        ("model.k: []", "model.k: the list is empty"),
        ("model.k: 3", "model.k: expected a list of values, or low and high; found 3"),
        ("model.k: {low: 1}", "model.k: high: has to be given"),
        ("model.k: {low: 3, high: 1}", "expected low < high, found 3 and 1"),
        ("model.k: {low: 0, high: 1, log: true}", "log needs numbers above 0"),
        ("model.k: {low: 0, high: 1, steps: 2}", "no such setting"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_a_mistake_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as found:
        load_space(RECOMMENDATION, space(tmp_path, text))
    assert message in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(
    "name", ["acoustic", "deraining", "forecasting", "recommendation", "trajectory"]
)
def test_every_domain_has_a_space_and_a_value_to_judge_by(name: str) -> None:
    domain = DOMAINS.get(name)
    assert len(load_space(domain)) > 1 and domain.monitor.startswith("val_")
