"""Restoring images, folders and videos with a trained run, from the command line and served."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.deraining.before_after import write_sheet
from moe_apps.pipelines.deraining.config import DerainingConfig
from moe_apps.pipelines.deraining.image_files import (
    SUFFIXES,
    image_files,
    read_picture,
    write_picture,
)
from moe_apps.pipelines.deraining.metrics import PROTOCOLS, to_8_bit
from moe_apps.pipelines.deraining.restoration import ImageRestorer
from moe_apps.pipelines.deraining.served import served_restorer
from moe_apps.pipelines.deraining.video import VIDEO_SUFFIXES, restore_video
from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model

EXAMPLE_FILE = "example.png"
"""A degraded image of the test part: a run is exported without its data."""
SHEET_ROWS = 12


def predict(run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
    """Restore an image, a folder of images (with its subfolders), or a video.

    A folder gives a folder with the same names, as PNG unless `prediction.suffix` says otherwise;
    a file that cannot be read is skipped with a note. Alpha, 16 bits and metadata are kept where
    the format has them. Memory is bounded by `prediction.tile` and the image itself. With
    `prediction.sheet` a picture with input and result side by side is written next to them.

    Returns:
        `rows` (images or frames), `output`, `notes`.
    """
    config = run.read_config(DerainingConfig)
    if not input.exists():
        raise DataError(f"{input}: no such file or folder")
    jobs = list(_jobs(config, input, output))  # a mistake in the paths stops here
    restorer = ImageRestorer(load_model(run.model_file), config.prediction)
    if input.suffix.lower() in VIDEO_SUFFIXES and input.is_file():
        with _progress() as progress:
            task = progress.add_task("restoring frames", total=None)
            rows = restore_video(input, output, restorer, lambda: progress.advance(task))
        return {"rows": rows, "output": str(output), "notes": []}
    notes: list[str] = []
    shown: list[tuple[str, Any, Any]] = []
    rows = 0
    with _progress() as progress:
        task = progress.add_task("restoring images", total=len(jobs))
        for source, target in jobs:
            try:
                picture = read_picture(source, config.data.max_megapixels)
            except DataError as error:
                if input.is_file():
                    raise
                notes.append(f"skipped: {error}")
                print(f"skipped: {error}", file=sys.stderr)
                progress.advance(task)
                continue
            tiles = restorer.tiles(picture.pixels)
            part = progress.add_task(source.name, total=tiles, visible=tiles > 1)
            restored = restorer.restore(picture.pixels, partial(progress.advance, part))
            progress.remove_task(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_picture(target, picture.with_unit(restored))
            if config.prediction.sheet and len(shown) < SHEET_ROWS:
                shown.append((source.name, to_8_bit(picture.unit), to_8_bit(restored)))
            rows += 1
            progress.advance(task)
    if not rows:
        raise DataError(f"{input}: none of {len(jobs)} images can be read; {notes[0]}")
    if shown:
        sheet = output / "sheet.png" if input.is_dir() else _beside(output, "sheet")
        write_sheet(shown, sheet)
        notes.append(f"before and after side by side: {sheet}")
    return {"rows": rows, "output": str(output), "notes": notes}


def request(run: RunFolder, input: Path) -> dict[str, Any]:
    """What a served restorer is asked for an image file; see `Domain.request`."""
    config = run.read_config(DerainingConfig)
    if not input.is_file():
        raise DataError(f"{input}: no such image file")
    return {"images": to_8_bit(read_picture(input, config.data.max_megapixels).unit)[None]}


def _jobs(config: DerainingConfig, input: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    """Files to read with the files to write."""
    if input.is_file():
        video = input.suffix.lower() in VIDEO_SUFFIXES
        known = VIDEO_SUFFIXES if video else SUFFIXES
        if output.suffix.lower() not in known or output.is_dir():
            kind = "a video" if video else "an image"
            raise ConfigError(f"{output}: expected a name of {kind} ending in {', '.join(known)}")
        if not output.parent.is_dir():
            raise ConfigError(f"{output}: cannot be written: its folder does not exist")
        if output.resolve() == input.resolve():
            raise ConfigError(f"{output}: is the input; name another file")
        yield input, output
        return
    if output.is_file():
        raise ConfigError(f"{output}: is a file; expected a folder, as the input is one")
    if output.resolve() == input.resolve():
        raise ConfigError(f"{output}: is the input; name another folder")
    inside = output.resolve()
    files = [file for file in image_files(input) if inside not in file.resolve().parents]
    if not files:
        raise DataError(f"{input}: has no images; expected files in {', '.join(SUFFIXES)}")
    taken: dict[Path, Path] = {}
    for file in files:
        target = output / file.relative_to(input)
        if config.prediction.suffix == "png":
            target = target.with_suffix(".png")
        if target in taken:  # a.jpg and a.png
            target = target.with_name(f"{file.stem}_{file.suffix[1:].lower()}{target.suffix}")
        taken[target] = file
        yield file, target


def served(run: RunFolder) -> Served:
    """The trained model with the signatures it is exported with; see `Domain.served`."""
    config = run.read_config(DerainingConfig)
    metrics = run.read_metrics()
    facts = metrics["data"]
    names = ("psnr", "ssim", "gain")
    card = {
        "system": config.model.name,
        "trained_on": {name: facts[name] for name in ("source", "digest", "train_images")},
        "protocol": PROTOCOLS[facts["protocol"]].description,
        "test": {name: metrics["test"][name] for name in names},
        "input": {name: metrics["baselines"]["input"][name] for name in names},
        "licence": "model code: Apache-2.0; the weights follow the terms of the training data",
    }
    example = read_picture(run.path / EXAMPLE_FILE).pixels
    return served_restorer(
        load_model(run.model_file), image_example=np.ascontiguousarray(example), card=card
    )


def _beside(output: Path, word: str) -> Path:
    return output.with_name(f"{output.stem}_{word}.png")


@contextmanager
def _progress() -> Iterator[Progress]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        yield progress
