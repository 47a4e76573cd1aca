"""A large image in tiles: time, memory, and how it differs from the image in one piece.

    python benchmarks/deraining/tiles.py RUN [--megapixels 12] [--output FILE.csv]

Prints, and writes as CSV: for an image that also fits in one piece, the difference between the
tiled and the whole result at pixels on tile borders and elsewhere, in 8-bit steps; for the large
image, the seconds and the highest resident memory of the process.
"""

from __future__ import annotations

import argparse
import csv
import resource
import time
from pathlib import Path

import numpy as np

from moe_apps.pipelines.deraining.config import DerainingConfig
from moe_apps.pipelines.deraining.restoration import ImageRestorer
from moe_apps.pipelines.deraining.sample_images import drawn_scene
from moe_apps.pipelines.deraining.tiling import starts
from moe_apps.pipelines.deraining.weather import Weather, degrade
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model

SIZE = (720, 1080)
RESULTS = Path(__file__).resolve().parents[1] / "results" / "deraining_tiles.csv"


def rainy(height: int, width: int) -> np.ndarray:
    """A drawn scene with medium streaks, in [0, 1]."""
    clean = drawn_scene(300_000, (height, width)).astype(np.float32) / 255
    return degrade(clean, Weather("streaks", "medium"), np.random.default_rng(0)).image


def border(side: int, tile: int, overlap: int) -> np.ndarray:
    """Whether each pixel of a side is next to where a tile begins or ends."""
    begin = starts(side, tile, overlap)
    edges = {edge for start in begin for edge in (start, start + tile)} - {0, side}
    places = np.arange(side)
    return np.any([np.abs(places - edge + 0.5) < 1 for edge in edges], axis=0)


def steps(image: np.ndarray) -> float:
    """Largest difference of neighbouring pixels that the whole result does not have, in 8 bits."""
    return float(255 * np.abs(image).max())


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    run = RunFolder.open(arguments.run)
    settings = run.read_config(DerainingConfig).prediction
    model = load_model(run.model_file)
    rows: list[dict[str, object]] = []

    image = rainy(*SIZE)
    tiled = ImageRestorer(model, settings.model_copy(update={"whole_megapixels": 0.3}))
    whole = ImageRestorer(model, settings.model_copy(update={"whole_megapixels": 100.0}))
    difference = tiled.restore(image) - whole.restore(image)
    on_border = (
        border(SIZE[0], settings.tile, settings.overlap)[:, None]
        | (border(SIZE[1], settings.tile, settings.overlap)[None])
    )
    # A seam is a step across a border: a difference that changes from one pixel to the next.
    down = np.abs(np.diff(difference, axis=0))
    edges = border(SIZE[0], settings.tile, settings.overlap)
    pairs = edges[1:] & edges[:-1]
    rows += [
        {"what": "tiled - whole, mean, 8-bit steps", "value": 255 * np.abs(difference).mean()},
        {"what": "tiled - whole, largest, 8-bit steps", "value": steps(difference)},
        {"what": "tiled - whole at tile borders, largest", "value": steps(difference[on_border])},
        {"what": "step across tile borders, mean", "value": 255 * down[pairs].mean()},
        {"what": "step elsewhere, mean", "value": 255 * down[~pairs].mean()},
        {"what": "step across tile borders, largest", "value": 255 * down[pairs].max()},
        {"what": "step elsewhere, largest", "value": 255 * down[~pairs].max()},
    ]
    width = round((arguments.megapixels * 1e6 * 4 / 3) ** 0.5)
    # Repeated, since drawing so large a scene would itself take gigabytes.
    times = (-(-width * 3 // 4 // SIZE[0]), -(-width // SIZE[1]), 1)
    small = np.round(255 * image).astype(np.uint8)
    large = np.tile(small, times)[: width * 3 // 4, :width]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    started = time.perf_counter()
    tiled.restore(large)
    seconds = time.perf_counter() - started
    rows += [
        {"what": "large image, megapixels", "value": large.shape[0] * large.shape[1] / 1e6},
        {"what": "large image, tiles", "value": tiled.tiles(large)},
        {"what": "large image, seconds", "value": seconds},
        {"what": "highest memory before it, GB", "value": before},
        {
            "what": "highest memory with it, GB",
            "value": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        },
    ]
    for row in rows:
        print(f"{row['what']}: {row['value']:.4g}")
    with arguments.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["what", "value"])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
