"""A trained run on real data sets it has not seen, image by image, and on rain without truth.

    python benchmarks/deraining/zero_shot.py RUN PAIRS [--real FOLDER] [--output FILE.csv]

PAIRS is a folder of pairs such as Rain100L's test part; prints and writes the PSNR of input and
result and the gain for each image. With --real, the photographs of that folder are restored, and a
sheet of inputs and results is written beside the CSV.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from moe_apps.pipelines.deraining.before_after import write_sheet
from moe_apps.pipelines.deraining.config import DerainingConfig
from moe_apps.pipelines.deraining.data import test_examples
from moe_apps.pipelines.deraining.evaluation import judge
from moe_apps.pipelines.deraining.image_files import image_files, read_picture
from moe_apps.pipelines.deraining.metrics import to_8_bit
from moe_apps.pipelines.deraining.restoration import ImageRestorer, answers
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model

RESULTS = Path(__file__).resolve().parents[1] / "results" / "deraining_zero_shot.csv"


def main() -> None:
    """Judge and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    run = RunFolder.open(arguments.run)
    config = run.read_config(DerainingConfig)
    restorer = ImageRestorer(load_model(run.model_file), config.prediction)
    examples, protocol, _ = test_examples(config, arguments.pairs)
    found = judge(answers(restorer), examples, protocol)
    rows = [
        {
            "image": name,
            "protocol": protocol,
            "input_psnr": round(values["psnr"] - values["gain"], 3),
            "psnr": round(values["psnr"], 3),
            "gain": round(values["gain"], 3),
            "ssim": round(values["ssim"], 5),
        }
        for name, values in found["by_image"].items()
    ]
    mean = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in list(rows[0])[2:]}
    rows.append({"image": "mean", "protocol": protocol, **mean})
    for row in rows:
        print(*row.values())
    with arguments.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    if arguments.real:
        shown = []
        for path in image_files(arguments.real):
            picture = read_picture(path)
            restored = restorer.restore(picture.pixels)
            shown.append((path.name, to_8_bit(picture.unit), to_8_bit(restored)))
        write_sheet(shown, arguments.output.with_name(f"{arguments.output.stem}_real.png"))


if __name__ == "__main__":
    main()
