"""Studies on the sample data: MoFME beside its ordinary twin, and parts of the compensator.

    python benchmarks/deraining/studies.py [--seeds 3] [--epochs 6] [--steps 60] [--output FILE.csv]
        [--only mofme,compensator]

mofme: the same network with modulation experts, with ordinary experts (8 each) and without experts.
compensator: DRSformer with and without it, and with k = 2 and 4 of its 8 operations.
Each row of the CSV is one training: parameters, seconds an image of the test part, PSNR and gain.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
from pathlib import Path
from typing import Any

import moe_apps

RESULTS = Path(__file__).resolve().parents[1] / "results" / "deraining_studies.csv"
STUDIES: dict[str, dict[str, list[str]]] = {
    "mofme": {
        "MoFME": ["model.name=mofme"],
        "ordinary mixture": ["model.name=mofme", "model.experts=ffn"],
    },
    "compensator": {
        "with compensator": [],
        "without compensator": ["model.compensator=false"],
        "k = 2": ["model.k=2"],
        "k = 4": ["model.k=4"],
    },
}


def row(study: str, name: str, seed: int, metrics: dict[str, Any]) -> dict[str, Any]:
    """What the CSV says of a training."""
    size = sum(
        count * (int(sides.split(" x ")[0]) * int(sides.split(" x ")[1]))
        for sides, count in metrics["data"]["test_sizes"].items()
    )
    image = size / metrics["data"]["test_pairs"] / 1e6
    return {
        "study": study,
        "system": name,
        "seed": seed,
        "parameters": metrics["parameters"]["total"],
        "active": metrics["parameters"]["active"],
        "step_seconds": round(metrics["timing"]["step_seconds"], 4),
        "image_seconds": round(metrics["timing"]["test_seconds_per_megapixel"] * image, 4),
        "psnr": round(metrics["test"]["psnr"], 3),
        "ssim": round(metrics["test"]["ssim"], 4),
        "gain": round(metrics["test"]["gain"], 3),
    }


def main() -> None:
    """Train all and write after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", default=",".join(STUDIES))
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    common = [
        f"train.epochs={arguments.epochs}",
        f"train.steps_per_epoch={arguments.steps}",
        "evaluation.dense_twin=false",
        "evaluation.u_net=false",
        "evaluation.classical=false",
    ]
    rows: list[dict[str, Any]] = []
    for study in arguments.only.split(","):
        for name, settings in STUDIES[study].items():
            for seed in range(arguments.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    metrics = moe_apps.train(
                        "deraining", set=[*common, *settings], seed=seed, output=f"{folder}/run"
                    )
                rows.append(row(study, name, seed, metrics))
                with arguments.output.open("w", newline="") as file:
                    writer = csv.DictWriter(file, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
            values = [r["gain"] for r in rows if (r["study"], r["system"]) == (study, name)]
            print(
                f"{study}, {name}: gain {statistics.mean(values):.2f} dB over {len(values)} seeds"
            )


if __name__ == "__main__":
    main()
