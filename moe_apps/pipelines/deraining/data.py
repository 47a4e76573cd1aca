"""From data settings to examples: sample data, or a folder's pairs, split and checked for leaks."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moe_apps.errors import DataError
from moe_apps.pipelines.content_digest import content_digest
from moe_apps.pipelines.deraining.config import DataSettings, DerainingConfig
from moe_apps.pipelines.deraining.examples import (
    Example,
    Examples,
    MadePatches,
    RealPatches,
    at_least,
    unit,
)
from moe_apps.pipelines.deraining.image_files import Picture, image_files, read_picture
from moe_apps.pipelines.deraining.metrics import PROTOCOLS, psnr, to_8_bit
from moe_apps.pipelines.deraining.pair_cache import PairCache
from moe_apps.pipelines.deraining.pairs import Pair, PairSet, find_pairs, listed
from moe_apps.pipelines.deraining.sample_images import Part, sample_images
from moe_apps.pipelines.deraining.weather import Mode, Weather, degrade

SAMPLE = (
    "sample data: photographs of scikit-image, scikit-learn and matplotlib, drawn scenes, "
    "made weather"
)
PARTS = ("train", "validation", "test")


def examples(config: DerainingConfig, path: str | Path | None = None) -> Examples:
    """The data of a configuration, or of another folder read the same way.

    Raises:
        DataError: there are no pairs, too few of them, or (with `strict`) a bad one.
    """
    path = path or config.data.path
    if path is None:
        return _sample_examples(config)
    return _real_examples(config, Path(path))


def test_examples(config: DerainingConfig, path: Path) -> tuple[list[Example], str, list[str]]:
    """All pairs of another folder, to judge by; with the protocol's name and notes."""
    found = _readable(find_pairs(path, config.data.layout, config.data.clean_side), config.data)
    return (
        [_example(pair, config.data) for pair in found.pairs],
        protocol_of(config.data, path),
        list(found.notes),
    )


def protocol_of(settings: DataSettings, path: Path | None) -> str:
    """Name of the protocol: that of the settings, or the usual one of the data set."""
    if settings.protocol != "auto":
        return settings.protocol
    name = "" if path is None else path.name.lower()
    if any(word in name for word in ("did", "ddn", "rain1200", "rain1400", "rain14000")):
        return "B"
    return "C" if "allweather" in name.replace("-", "").replace("_", "") else "A"


def inspect(path: Path) -> dict[str, Any]:
    """What is understood of a folder, a list of pairs, or an image."""
    settings = DataSettings()
    if path.is_file() and path.suffix.lower() != ".txt":
        return {"images": 1, "each": [_facts(path.name, read_picture(path))]}
    notes: list[str] = []
    try:
        found = find_pairs(path)
    except DataError as error:
        files = [] if path.is_file() else list(image_files(path))
        if not files:
            raise
        return {**_without_pairs(files, path), "notes": [str(error)]}
    rows = []
    for pair in found.pairs:
        try:
            rainy, clean = pair.read(settings.max_megapixels)
        except DataError as error:
            notes.append(str(error))
            continue
        level = psnr(to_8_bit(rainy.unit), to_8_bit(clean.unit))
        facts = _facts(pair.name, rainy)
        rows.append({**facts, "psnr": round(level, 2), "like": level_of(level)})
    if found.unmatched:
        notes.append(f"{len(found.unmatched)} without a partner: {listed(found.unmatched)}")
    return {
        "pairs": len(found.pairs),
        "rules": found.rules,
        "parts": _counts(pair.part or "not said" for pair in found.pairs),
        "groups": _counts(pair.group for pair in found.pairs if pair.group),
        "protocol": protocol_of(settings, path),
        "sizes": _counts(row["size"] for row in rows),
        "modes": _counts(row["mode"] for row in rows),
        "rain": _counts(row["like"] for row in rows),
        "each": rows[:50],
        "notes": [*notes, *([f"the first 50 of {len(rows)} pairs"] if len(rows) > 50 else [])],
    }


def level_of(value: float) -> str:
    """The level of streaks whose usual Y-PSNR is nearest: 30, 24 or 16 dB (see `weather`).

    Example:
        >>> [level_of(value) for value in (26.9, 25.0, 13.6)]
        ['medium', 'medium', 'heavy']
    """
    levels = {"light": 30.2, "medium": 24.2, "heavy": 15.6}
    return min(levels, key=lambda name: abs(levels[name] - value))


def describe(data: Examples) -> dict[str, Any]:
    """What the data were, for `metrics.json`."""
    sizes = _counts(f"{e.rainy.shape[1]} x {e.rainy.shape[0]}" for e in data.test)
    return {
        "source": data.source,
        "digest": data.digest,
        "test_digest": content_digest(data.digest, data.protocol),
        "protocol": data.protocol,
        "protocol_is": PROTOCOLS[data.protocol].description,
        "train_images": data.train_count,
        "validation_pairs": len(data.validation),
        "test_pairs": len(data.test),
        "test_sizes": sizes,
        "notes": list(data.notes),
    }


# === Sample data ===


def _sample_examples(config: DerainingConfig) -> Examples:
    settings = config.data
    train = sample_images("train")
    return Examples(
        MadePatches(train, settings.kinds, settings.levels),
        _made("validation", settings, config.seed),
        _made("test", settings, config.seed),
        len(train),
        protocol_of(settings, None),
        SAMPLE,
        ("whole pictures are held out: none is in two parts",),
    )


def _made(part: Part, settings: DataSettings, seed: int) -> list[Example]:
    """Every picture of a part in every kind and level of weather; the middle of the picture."""
    made = []
    for image in sample_images(part):
        pixels = at_least(image.pixels, settings.test_size)
        top, left = ((side - settings.test_size) // 2 for side in pixels.shape[:2])
        clean = pixels[top : top + settings.test_size, left : left + settings.test_size]
        for kind in settings.kinds:
            for level in settings.levels:
                name = f"{image.name} {kind} {level}"
                # Python's own hash of a text differs from run to run.
                number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
                random = np.random.default_rng((seed, number))
                mode: Mode = "screen" if random.random() < 0.5 else "additive"
                weather = Weather(kind, level, mode)
                height = pixels.shape[0]
                rows = (top / height, (top + settings.test_size) / height)
                rainy = degrade(unit(clean), weather, random, scene_height=height, rows=rows).image
                labels = {"kind": kind, "level": level, "image": image.name}
                made.append(Example(name, to_8_bit(rainy), clean, labels))
    return made


# === Pairs ===


def _real_examples(config: DerainingConfig, path: Path) -> Examples:
    settings = config.data
    found = _readable(find_pairs(path, settings.layout, settings.clean_side), settings)
    parts, notes = _split(found.pairs, config)
    for part in PARTS:
        if not parts[part]:
            raise DataError(
                f"{path}: {len(found.pairs)} pairs of {_scenes(found.pairs)} clean images leave "
                f"none for {part}; expected at least 3 clean images"
            )
    cache = PairCache(settings.cache_megabytes, settings.max_megapixels)
    return Examples(
        RealPatches(parts["train"], cache.read),
        [_example(pair, settings) for pair in parts["validation"]],
        [_example(pair, settings) for pair in parts["test"]],
        len({pair.target for pair in parts["train"]}),
        protocol_of(settings, path),
        str(path),
        (*found.notes, *notes),
    )


def _readable(found: PairSet, settings: DataSettings) -> PairSet:
    """Pairs that can be read; the others are skipped with a warning, or an error if `strict`."""
    kept, notes = [], list(found.notes)
    for pair in found.pairs:
        try:
            pair.read(settings.max_megapixels)
        except DataError as error:
            if settings.strict:
                raise
            print(f"skipped: {error}", file=sys.stderr)
            notes.append(f"skipped: {error}")
        else:
            kept.append(pair)
    if not kept:
        raise DataError(f"none of {len(found.pairs)} pairs can be read; the first: {notes[-1]}")
    if found.unmatched:
        notes.append(f"{len(found.unmatched)} without a partner: {listed(found.unmatched)}")
    return PairSet(tuple(kept), found.unmatched, tuple(notes))


def _split(
    pairs: Sequence[Pair], config: DerainingConfig
) -> tuple[dict[str, list[Pair]], list[str]]:
    """Pairs by part; all degraded versions of a clean image are in one part.

    Parts that folders say are kept; a training pair whose clean image (compared by its pixels) is
    also tested or validated on is left out. Where folders say nothing, clean images are shared
    out at random by the seed.
    """
    scene = {pair.name: _scene(pair) for pair in pairs}
    parts: dict[str, list[Pair]] = {part: [] for part in PARTS}
    rest = [pair for pair in pairs if not pair.part]
    for pair in pairs:
        if pair.part:
            parts[pair.part].append(pair)
    random = np.random.default_rng(config.seed)
    if not parts["test"]:
        rest = rest or parts["train"]
        if rest is parts["train"]:
            parts["train"] = []
        _share_out(rest, scene, config.data.test_fraction, "test", parts, random)
        rest = [pair for pair in rest if pair not in parts["test"]]
    elif not rest and not parts["validation"]:
        rest, parts["train"] = parts["train"], []
    if not parts["validation"]:
        _share_out(rest, scene, config.data.validation_fraction, "validation", parts, random)
        rest = [pair for pair in rest if pair not in parts["validation"]]
    parts["train"] += rest
    notes = []
    for held, others in (("test", ("train", "validation")), ("validation", ("train",))):
        known = {scene[pair.name] for pair in parts[held]}
        for other in others:
            kept = [pair for pair in parts[other] if scene[pair.name] not in known]
            if left := len(parts[other]) - len(kept):
                notes.append(f"{left} {other} pairs left out: their clean image is in {held}")
            parts[other] = kept
    return parts, notes


def _share_out(
    pairs: Sequence[Pair],
    scene: Mapping[str, str],
    fraction: float,
    part: str,
    parts: dict[str, list[Pair]],
    random: np.random.Generator,
) -> None:
    scenes = sorted({scene[pair.name] for pair in pairs})
    count = min(max(round(fraction * len(scenes)), 1), len(scenes))
    chosen = set(random.permutation(scenes)[:count].tolist())
    parts[part] += [pair for pair in pairs if scene[pair.name] in chosen]


def _scene(pair: Pair) -> str:
    """Digest of the clean pixels: copies of an image under other names are the same scene."""
    clean = pair.read()[1].pixels
    return hashlib.sha256(np.ascontiguousarray(clean).tobytes()).hexdigest()


def _example(pair: Pair, settings: DataSettings) -> Example:
    rainy, clean = (to_8_bit(picture.unit) for picture in pair.read(settings.max_megapixels))
    labels = {"level": level_of(psnr(rainy, clean))}
    if pair.group:
        labels["group"] = pair.group
    return Example(pair.name, rainy, clean, labels)


def _scenes(pairs: Sequence[Pair]) -> int:
    return len({pair.target for pair in pairs})


def _facts(name: str, picture: Picture) -> dict[str, Any]:
    height, width = picture.pixels.shape[:2]
    alpha = " with alpha" if picture.alpha is not None else ""
    return {"image": name, "size": f"{width} x {height}", "mode": f"{picture.mode}{alpha}"}


def _without_pairs(files: Sequence[Path], path: Path) -> dict[str, Any]:
    rows = []
    for file in files[:50]:
        try:
            rows.append(_facts(file.relative_to(path).as_posix(), read_picture(file)))
        except DataError as error:
            rows.append({"image": file.name, "size": "-", "mode": str(error)})
    return {"images": len(files), "each": rows}


def _counts(values: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    return found
