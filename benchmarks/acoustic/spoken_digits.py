"""Spoken digits, one speaker left out at a time: CMoE beside support vectors on MFCC.

    python benchmarks/acoustic/spoken_digits.py            # four speakers, about 6 CPU minutes
    python benchmarks/acoustic/spoken_digits.py --speakers theo

The clips (free spoken digit dataset) are acoustic/fsdd/recordings in the folder MOE_APPS_DATA
(by default ../shared/data). A row is a system and the speaker it was tested on. Of the other
speakers, the last two takes of each digit choose the epoch; support vectors are trained on all.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from circumstances import circumstances
from result_rows import put_rows
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from moe_apps.pipelines.acoustic.answers import answering
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.data import AcousticData, acoustic_data
from moe_apps.pipelines.acoustic.metrics import score
from moe_apps.pipelines.acoustic.splits import TEST, TRAIN, VALIDATION
from moe_apps.pipelines.acoustic.training import built, train_network
from moe_apps.pipelines.config import load_config

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "benchmarks" / "results" / "acoustic_spoken_digits.csv"
CONFIG = ROOT / "configs" / "acoustic_speech.yaml"
VALIDATION_TAKES = ("10", "11")


def described(folder: Path, speaker: str, file: Path) -> None:
    """Write the metadata: digit, and the part by speaker and take."""
    rows = []
    for clip in sorted(folder.glob("*.wav")):
        digit, name, take = clip.stem.split("_")
        part = "validation" if take in VALIDATION_TAKES else "train"
        rows.append((clip.name, digit, "test" if name == speaker else part))
    pd.DataFrame(rows, columns=["recording", "label", "part"]).to_csv(file, index=False)


def settings(
    folder: Path, metadata: Path, over: list[str], kind: str | None = None
) -> AcousticConfig:
    chosen: dict = {"data": {"path": str(folder), "metadata": str(metadata)}}
    if kind is not None:
        chosen["features"] = {"kind": kind}
    return load_config(AcousticConfig, CONFIG, over, over=chosen)


def support_vectors(data: AcousticData) -> float:
    """Accuracy of a machine on mean and deviation of each MFCC."""

    def vectors(rows: np.ndarray) -> np.ndarray:
        image = data.segments.inputs["image"][rows]
        return np.concatenate([image.mean(axis=1), image.std(axis=1)], axis=1)

    known = np.flatnonzero((data.part == TRAIN) | (data.part == VALIDATION))
    asked = np.flatnonzero(data.part == TEST)
    model = make_pipeline(StandardScaler(), SVC(C=10, class_weight="balanced"))
    model.fit(vectors(known), data.segments.label[known])
    return float((model.predict(vectors(asked)) == data.segments.label[asked]).mean())


def network(config: AcousticConfig, data: AcousticData) -> float:
    model = built(config, "model", data)
    with tempfile.TemporaryDirectory() as folder:
        train_network(
            model,
            "model",
            config,
            data,
            checkpoint=Path(folder, "checkpoint"),
            history_file=Path(folder, "history.csv"),
        )
    test = data.of(TEST)
    answer = answering(model, config.evaluation.batch_size)(test)
    return score(answer, test, data.classes)["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speakers", nargs="+", default=["george", "jackson", "nicolas", "theo"])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    shared = Path(os.environ.get("MOE_APPS_DATA", ROOT.parent / "shared" / "data"))
    clips = shared / "acoustic" / "fsdd" / "recordings"
    for speaker in arguments.speakers:
        with tempfile.TemporaryDirectory() as folder:
            metadata = Path(folder, "metadata.csv")
            described(clips, speaker, metadata)
            config = settings(clips, metadata, arguments.set)
            found = {
                "cmoe": network(config, acoustic_data(config)),
                "svm_mfcc": support_vectors(
                    acoustic_data(settings(clips, metadata, arguments.set, "mfcc"))
                ),
            }
        print(speaker, {name: round(100 * value, 1) for name, value in found.items()}, flush=True)
        rows = [
            {"speaker": speaker, "system": name, "accuracy": value, **circumstances()}
            for name, value in found.items()
        ]
        put_rows(arguments.output, rows, ["speaker", "system"])
    print(pd.read_csv(arguments.output).groupby("system")["accuracy"].agg(["mean", "std"]))


if __name__ == "__main__":
    main()
