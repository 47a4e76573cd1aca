from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from moe_apps.errors import ConfigError
from moe_apps.pipelines.config import RunConfig, Settings, dump_config, load_config, setting_names


class Model(Settings):
    num_experts: int = Field(default=8, ge=1)
    size: Literal["tiny", "small"] = "tiny"


class Train(Settings):
    jit_compile: Literal["auto"] | bool = "auto"
    learning_rate: float = 1e-3
    steps: int | None = None
    horizons: tuple[int, ...] = (1, 8)


class Config(RunConfig):
    model: Model = Model()
    train: Train = Train()
    path: Path | None = None


BASE = {"domain": "toy"}


def fault(*overrides: str, text: str | None = None, folder: Path | None = None) -> str:
    path = None
    if text is not None:
        assert folder is not None
        path = folder / "settings.yaml"
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(Config, path, overrides, BASE)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("seed: 2\nmodel: {num_experts: 2}\ntrain: {steps: 2, learning_rate: 0.2}\n")
    base = {"domain": "toy", "seed": 1, "model": {"size": "small"}}
    over = {"train": {"steps": 3, "learning_rate": 0.3}}
    config = load_config(Config, file, ["train.steps=4"], base, over)
    assert config.model == Model(num_experts=2, size="small")
    assert (config.seed, config.train.steps, config.train.learning_rate) == (2, 4, 0.3)
    assert config.train.jit_compile == "auto"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("0.5", 0.5), ("2", 2.0)],
)
def test_a_number_is_read_as_one(text: str, value: float) -> None:
    read = load_config(Config, None, [f"train.learning_rate={text}"], BASE)
    assert read.train.learning_rate == value


def test_values_of_other_kinds() -> None:
    overrides = ["train.jit_compile=false", "train.steps=null", "train.horizons=[1, 4]"]
    config = load_config(Config, None, [*overrides, "path=a=b.csv"], BASE)
    assert config.train == Train(jit_compile=False, steps=None, horizons=(1, 4))
    assert config.path == Path("a=b.csv")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_experts=3", "no such setting; the nearest is model.num_experts"),
        ("model.num_expert=3", "no such setting; the nearest is model.num_experts"),
        ("zzz=3", "no such setting"),
        ("model.num_experts=0", "should be greater than or equal to 1; found 0"),
        ("model.size=huge", "should be 'tiny' or 'small'; found 'huge'"),
        ("train.learning_rate=.inf", "should be a finite number; found inf"),
        ("seed=-1", "should be greater than or equal to 0; found -1"),
        (
            "model=3",
            "needs a section with settings such as model.num_experts, model.size; found 3",
        ),
    ],
)
def test_a_wrong_override_is_one_line(override: str, message: str) -> None:
    assert fault(override) == f"--set {override.partition('=')[0]}: {message}"


def test_members_of_a_union_are_one_fault() -> None:
    message = fault("train.jit_compile=maybe")
    assert message.startswith("--set train.jit_compile: should be 'auto' or should be a valid bool")
    assert message.endswith("found 'maybe'")


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=3", ".seed=3"])
def test_an_override_without_a_key_or_value(override: str) -> None:
    assert "expected key=value" in fault(override)


def test_several_faults_are_counted() -> None:
    assert fault("seed=-1", "model.num_experts=0").endswith("(and 1 more)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {num_expert: 3}", "settings.yaml: model.num_expert: no such setting; the nearest"),
        ("seed: [1", "settings.yaml: not valid YAML: line 1, column 9: "),
        ("- 1", "settings.yaml: expected settings as `name: value`, found [1]"),
        ("1: 2", "settings.yaml: expected settings as `name: value`, found {1: 2}"),
        ("model:", "settings.yaml: model: needs a section"),
        ("seed: !!python/object/apply:os.getcwd []", "settings.yaml: not valid YAML: line 1"),
    ],
)
def test_a_wrong_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    assert fault(text=text, folder=tmp_path).startswith(message)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing.yaml: cannot be read: No such file"):
        load_config(Config, tmp_path / "missing.yaml", (), BASE)
    (tmp_path / "latin.yaml").write_bytes(b"domain: \xff\xfe")
    with pytest.raises(ConfigError, match=r"latin.yaml: not valid YAML"):
        load_config(Config, tmp_path / "latin.yaml", (), BASE)


def test_an_empty_file_is_no_settings(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_config(Config, tmp_path / "empty.yaml", (), BASE) == Config(domain="toy")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^domain: has to be given$"):
        load_config(Config)


@given(
    seed=st.integers(0, 2**32 - 1),
    num_experts=st.integers(1, 1000),
    learning_rate=st.floats(allow_nan=False, allow_infinity=False),
    jit_compile=st.sampled_from(["auto", True, False]),
    name=st.text("abcé :#'\"\\-nul0123.[]{}", min_size=1),
)
def test_what_is_dumped_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    num_experts: int,
    learning_rate: float,
    jit_compile: Literal["auto"] | bool,
    name: str,
) -> None:
    config = Config(
        domain=name,
        seed=seed,
        model=Model(num_experts=num_experts),
        train=Train(learning_rate=learning_rate, jit_compile=jit_compile),
        path=Path("data.csv"),
    )
    file = tmp_path_factory.mktemp("dump") / "config.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config(Config, file) == config


def test_a_dump_is_complete() -> None:
    text = dump_config(Config(domain="toy"))
    for name in setting_names(Config):
        assert f"{name.rpartition('.')[2]}:" in text


def test_settings_are_frozen_and_checked() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Model().num_experts = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="num_expert"):
        Model(num_expert=3)  # type: ignore[call-arg]
