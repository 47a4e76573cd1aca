"""Scores of a system over test pairs, in the mean, by factor, and by image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from moe_apps.pipelines.deraining.examples import Example, Image
from moe_apps.pipelines.deraining.metrics import score

LISTED = 400
"""Images that `by_image` lists at most."""


def judge(
    answer: Callable[[Image], Image], examples: Sequence[Example], protocol: str
) -> dict[str, Any]:
    """Mean PSNR (dB) and SSIM of an answer over pairs, and its gain over the input.

    Args:
        answer: degraded image to restored image, both 8-bit.
        examples: the pairs.
        protocol: name of the protocol.

    Returns:
        `psnr`, `ssim`, `gain` (dB over the degraded image), `worst_gain`, and `by_kind`,
        `by_level`, `by_group`, `by_kind_and_level`, `by_image` where examples have them.
    """
    rows: list[dict[str, Any]] = []
    for example in examples:
        values = score(answer(example.rainy), example.clean, protocol)
        before = score(example.rainy, example.clean, protocol)["psnr"]
        rows.append({**values, "gain": values["psnr"] - before, "labels": example.labels})
    result: dict[str, Any] = _means(rows)
    result["worst_gain"] = float(min(row["gain"] for row in rows))
    for factor in sorted({name for example in examples for name in example.labels}):
        if factor != "image":
            result[f"by_{factor}"] = grouped(rows, partial(_label, factor))
    if all("kind" in row["labels"] and "level" in row["labels"] for row in rows):
        result["by_kind_and_level"] = grouped(
            rows, lambda labels: f"{labels['kind']} {labels['level']}"
        )
    result["by_image"] = {
        example.name: {name: row[name] for name in ("psnr", "ssim", "gain")}
        for example, row in list(zip(examples, rows, strict=True))[:LISTED]
    }
    return result


def grouped(
    rows: Sequence[Mapping[str, Any]], name_of: Callable[[Mapping[str, str]], str]
) -> dict[str, dict[str, float]]:
    """Means by group, in the order in which groups appear."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(name_of(row["labels"]), []).append(row)
    return {name: _means(of_group) for name, of_group in groups.items()}


def _label(factor: str, labels: Mapping[str, str]) -> str:
    return labels.get(factor, "")


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    means = {}
    for name in ("psnr", "ssim", "gain"):
        values = np.array([row[name] for row in rows], float)
        finite = values[np.isfinite(values)]  # equal images have no finite PSNR
        means[name] = float(finite.mean()) if len(finite) else float("nan")
    return means
