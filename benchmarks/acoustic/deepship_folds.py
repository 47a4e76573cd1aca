"""CMoE beside support vectors on DEMON spectra of DeepShip, over folds that keep ships together.

    python benchmarks/acoustic/deepship_folds.py           # 5 folds, 5 seeds of the folds
    python benchmarks/acoustic/deepship_folds.py --seeds 0 --unit recording

The file is acoustic/deepship_demon609.npz in the folder MOE_APPS_DATA (by default
../shared/data). A row is a system and a seed of the folds; accuracy is over all 609 recordings,
each judged by the network that has not seen its ship. The epoch is chosen on a seventh of the
training ships; support vectors and logistic regression are trained on all of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from circumstances import circumstances
from result_rows import put_rows

from moe_apps.pipelines.acoustic.answers import Answer, answering
from moe_apps.pipelines.acoustic.baselines import baselines
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.data import AcousticData, acoustic_data
from moe_apps.pipelines.acoustic.metrics import judged
from moe_apps.pipelines.acoustic.splits import TEST, TRAIN, VALIDATION, folds
from moe_apps.pipelines.acoustic.training import built, train_network
from moe_apps.pipelines.config import load_config

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "benchmarks" / "results" / "acoustic_deepship_folds.csv"
CONFIG = ROOT / "configs" / "acoustic_deepship_demon.yaml"
FOLDS, VALIDATION_FOLDS = 5, 7


def in_fold(data: AcousticData, train: np.ndarray, test: np.ndarray, unit: str) -> AcousticData:
    """The data with the parts of one fold."""
    part = np.full(len(data.segments), TRAIN, np.int64)
    part[test] = TEST
    some = [data.recordings[int(row)] for row in train]
    part[train[folds(some, unit, VALIDATION_FOLDS, 0)[0][1]]] = VALIDATION
    return replace(data, part=part)


def network(config: AcousticConfig, kind: str, data: AcousticData) -> np.ndarray:
    """Probabilities for the test part of a fold."""
    model = built(config, kind, data)
    with tempfile.TemporaryDirectory() as folder:
        train_network(
            model,
            kind,
            config,
            data,
            checkpoint=Path(folder, "checkpoint"),
            history_file=Path(folder, "history.csv"),
        )
    return answering(model, config.evaluation.batch_size)(data.of(TEST)).probability


def measured(config: AcousticConfig, data: AcousticData, unit: str, seed: int) -> list[dict]:
    classes = len(data.classes)
    found: dict[str, np.ndarray] = {}
    for train, test in folds(data.recordings, unit, FOLDS, seed):
        fold = in_fold(data, train, test, unit)
        answers = {kind: network(config, kind, fold) for kind in ("model", "dense_twin")}
        known = data.segments.take(train)
        for name, answer in baselines(known, classes, seed).items():
            answers[name] = answer(fold.of(TEST)).probability
        for name, probability in answers.items():
            found.setdefault(name, np.zeros((len(data.segments), classes)))[test] = probability
    rows = []
    for name, probability in found.items():
        scores = judged(Answer(probability), data.segments.label, data.classes)
        rows.append(
            {
                "system": name,
                "unit": unit,
                "seed": seed,
                "accuracy": scores["accuracy"],
                "balanced_accuracy": scores["balanced_accuracy"],
                "macro_f1": scores["macro_f1"],
                "recordings": scores["count"],
                **circumstances(),
            }
        )
        print(f"{name:<28}{unit:<10} seed {seed}  {100 * scores['accuracy']:.1f}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--unit", choices=("ship", "recording"), default="ship")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    shared = Path(os.environ.get("MOE_APPS_DATA", ROOT.parent / "shared" / "data"))
    file = shared / "acoustic" / "deepship_demon609.npz"
    for seed in arguments.seeds:
        over = {"seed": seed, "data": {"path": str(file)}}
        config = load_config(AcousticConfig, CONFIG, arguments.set, over=over)
        rows = measured(config, acoustic_data(config), arguments.unit, seed)
        put_rows(arguments.output, rows, ["unit", "system", "seed"])
    print(
        pd.read_csv(arguments.output).groupby(["unit", "system"])["accuracy"].agg(["mean", "std"])
    )


if __name__ == "__main__":
    main()
