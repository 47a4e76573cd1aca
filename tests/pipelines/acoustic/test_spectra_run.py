"""A run on spectra that somebody else has computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import moe_apps
from moe_apps.errors import DataError
from moe_apps.pipelines.acoustic.prediction import request
from moe_apps.pipelines.run_folder import RunFolder

SETTINGS = (
    "features.kind=none",
    "model.num_experts=2",
    "model.demon_units=32",
    "model.dropout=0",
    "train.augmentation.mixup=0",
    "train.epochs=10",
    "train.batch_size=16",
    "train.learning_rate=0.005",
    "evaluation.dense_twin=false",
)


@pytest.fixture(scope="module")
def spectra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Peaks at low bins for one class and at high bins for the other; eight recordings a ship."""
    rng = np.random.default_rng(0)
    label = np.arange(128) % 2
    one, two = rng.gamma(1.0, size=(128, 30)), rng.gamma(1.0, size=(128, 29))
    one[np.arange(128), 5 + 15 * label] += 100
    two[np.arange(128), 5 + 15 * label] += 100
    file = tmp_path_factory.mktemp("spectra") / "demon.npz"
    ship = [f"{n % 2}-{n // 16}" for n in range(128)]
    np.savez(file, one=one, two=two, label=label, classes=["tug", "cargo"], ship=ship)
    return file


def test_from_training_to_the_served_model(spectra: Path, tmp_path: Path) -> None:
    metrics = moe_apps.train("acoustic", data=spectra, set=SETTINGS, output=tmp_path / "run")
    assert metrics["data"]["split_by"] == "ship" and metrics["data"]["ships"] == 16
    assert set(metrics["baselines"]) == {"majority", "logistic_regression_demon", "svm_demon"}
    assert metrics["test"]["accuracy"] > 0.75
    found = moe_apps.predict(tmp_path / "run", input=spectra, output=tmp_path / "answers.csv")
    table = pd.read_csv(tmp_path / "answers.csv")
    assert found["rows"] == 128 and set(table["level"]) == {"recording"}
    truth = np.array(["tug", "cargo"])[np.load(spectra)["label"]]
    assert (table["class"] == truth).mean() > 0.75
    run = RunFolder.open(tmp_path / "run")
    model = tf.saved_model.load(str(run.saved_model / "1"))
    answer = model.signatures["explain"](
        spectra=tf.constant(request(run, spectra)["spectra"], tf.float32)
    )
    np.testing.assert_allclose(answer["probability"], table[["p_cargo", "p_tug"]], atol=1e-4)
    short = tmp_path / "short.npz"
    np.savez(short, one=np.ones((2, 30)))
    with pytest.raises(DataError, match="bins"):
        moe_apps.predict(tmp_path / "run", input=short, output=tmp_path / "no.csv")
    with pytest.raises(DataError, match="cannot listen"):
        list(moe_apps.listen(tmp_path / "run", file=spectra))
