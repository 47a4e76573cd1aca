"""Figures of an acoustic run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch
from sklearn.decomposition import PCA
from sklearn.metrics import precision_recall_curve, roc_curve

from moe_apps.pipelines.acoustic.answers import Answer, by_recording
from moe_apps.pipelines.acoustic.data import AcousticData
from moe_apps.pipelines.acoustic.extraction import Segments
from moe_apps.pipelines.charts import INK, MODEL, THIRD, draw_confusion, save_chart
from moe_apps.pipelines.report import Figure

MOST_SHOWN = 6
"""Recordings with a spectrogram, at most."""
MOST_SEGMENTS = 24
"""Segments of one of them, at most."""
MOST_POINTS = 4000
"""Of the map of embeddings."""
MARKERS = "osD^vP*X<>"
AXES = {"stft": "hz", "mel": "mel", "bark": "mel", "cqt": "log"}
"""librosa's scale of the frequency axis for each kind of image."""


def colors(count: int) -> list[Any]:
    """Colours that are told apart, for classes or experts."""
    return [colormaps["tab20" if count > 10 else "tab10"](number) for number in range(count)]


def decisions(data: AcousticData, test: Segments, answer: Answer, folder: Path) -> Figure | None:
    """Spectrograms of test recordings with decision and expert of each segment under them."""
    if "image" not in test.inputs:
        return None
    shown: list[int] = []  # the first recordings of each class in turn
    _, first = np.unique(test.recording, return_index=True)
    by_class = [[n for n in first if test.label[n] == c] for c in range(len(data.classes))]
    for place in range(max(map(len, by_class))):
        shown += [rows[place] for rows in by_class if place < len(rows)]
    shown = shown[:MOST_SHOWN]
    experts = answer.share.shape[1] if answer.share is not None else 0
    canvas = Canvas(figsize=(11, 1.9 * len(shown) + 0.6), layout="constrained")
    heights = [5, 1, 1] if experts else [5, 1]
    grid = canvas.subplots(
        len(shown) * len(heights), 1, squeeze=False, height_ratios=heights * len(shown)
    )[:, 0]
    of_class, of_expert = colors(len(data.classes)), colors(max(experts, 1))
    for number, row in enumerate(shown):
        rows = np.flatnonzero(test.recording == test.recording[row])[:MOST_SEGMENTS]
        part = grid[number * len(heights) : (number + 1) * len(heights)]
        seconds = draw_image(part[0], data.features, test.inputs["image"][rows])
        truth = data.classes[test.label[row]]
        name = data.recordings[test.recording[row]].name
        part[0].set_title(f"{name}: {truth}", loc="left", fontsize=9)
        guess = answer.probability[rows].argmax(axis=1)
        strip = [[of_class[label] for label in guess]]
        area = (0.0, seconds, 0.0, 1.0)
        part[1].imshow(np.array(strip), aspect="auto", extent=area)
        if answer.share is not None:
            chosen = answer.share[rows].argmax(axis=1)
            strip = [[of_expert[one] for one in chosen]]
            part[2].imshow(np.array(strip), aspect="auto", extent=area)
            middle = (np.arange(len(chosen)) + 0.5) * seconds / len(chosen)
            for at, one in zip(middle, chosen, strict=True):
                part[2].text(at, 0.5, str(one), ha="center", va="center", fontsize=7)
        for axes, label in zip(part[1:], ("class", "expert"), strict=False):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    handles = [Patch(color=c, label=n) for c, n in zip(of_class, data.classes, strict=True)]
    canvas.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    caption = (
        "Features of the first test recordings of each class, chosen by their place in the list; "
        "seconds to the right, Hz upwards, segments one after another. Under each, the class "
        "decided on for each segment, and the expert that decided."
    )
    return Figure(save_chart(canvas, folder, "decisions"), "What was heard", caption)


def draw_image(axes: Any, features: Any, images: npt.NDArray[np.float32]) -> float:
    """Images `[segments, time, features]` one after another; their length in seconds."""
    import librosa.display

    image = np.concatenate(images).T
    low, high = np.quantile(image, [0.02, 0.995])
    step = features.hop * features.time_pool / features.sample_rate
    librosa.display.specshow(
        image,
        x_coords=(np.arange(image.shape[1]) + 0.5) * step,
        y_coords=features.image.frequencies,
        x_axis="time",
        y_axis=AXES.get(features.kind),
        cmap="magma",
        vmin=low,
        vmax=high,
        ax=axes,
    )
    seconds = float(image.shape[1] * step)
    axes.set(xlim=(0, seconds), xlabel="", ylabel="Hz" if features.kind in AXES else "coefficient")
    axes.tick_params(labelsize=7)
    return seconds


def confusion(scores: Mapping[str, Any], classes: Sequence[str], folder: Path) -> Figure:
    """Confusion matrix of recordings."""
    size = 2.2 + 0.75 * len(classes)
    canvas = Canvas(figsize=(size + 1, size), layout="constrained")
    axes = canvas.subplots()
    image = draw_confusion(axes, scores["recording"]["confusion"], classes)
    axes.tick_params(axis="x", rotation=30)
    canvas.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    caption = "Test recordings by mean vote of their segments. The diagonal is right."
    return Figure(save_chart(canvas, folder, "confusion"), "Confusion of classes", caption)


def expert_matrices(routing: Mapping[str, Any], folder: Path) -> Figure | None:
    """Mean share of each expert by class, sub-type and the generator's other factors."""
    factors = [name for name in routing if name.startswith("by_")]
    if not factors:
        return None
    rows = [len(routing[name]) for name in factors]
    width = min(2.5 + 0.55 * routing["experts"], 12)
    canvas = Canvas(figsize=(width, 0.32 * sum(rows) + 0.7 * len(rows) + 0.8), layout="constrained")
    grid = canvas.subplots(len(factors), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axes, factor in zip(grid, factors, strict=True):
        matrix = np.array(list(routing[factor].values()))
        image = axes.imshow(matrix, aspect="auto", cmap="Blues", vmin=0, vmax=1)
        axes.set_yticks(range(len(matrix)), list(routing[factor]), fontsize=8)
        axes.set_xticks(range(matrix.shape[1]))
        axes.tick_params(axis="x", labelsize=8)
        title = factor.removeprefix("by_").replace("_", "-")
        axes.set_title(f"by {title}", loc="left", fontsize=9)
        if matrix.shape[1] <= 16:
            for row, column in np.ndindex(*matrix.shape):
                value = matrix[row, column]
                if value >= 0.005:
                    color = "white" if value > 0.5 else INK
                    axes.text(
                        column,
                        row,
                        f"{value:.0%}",
                        ha="center",
                        va="center",
                        fontsize=7,
                        color=color,
                    )
    grid[-1].set_xlabel("expert")
    canvas.colorbar(image, ax=list(grid), label="mean share", shrink=0.4)
    caption = "Mean share of the answer that each expert gave, over test segments; rows sum to 1."
    return Figure(save_chart(canvas, folder, "experts"), "Who answers for what", caption)


def embedding_map(
    data: AcousticData, test: Segments, answer: Answer, folder: Path
) -> Figure | None:
    """Embeddings of test segments in the plane of most variance, coloured by expert."""
    if answer.embedding is None or len(test) < 3 or answer.embedding.shape[1] < 2:
        return None
    rows = np.unique(np.linspace(0, len(test) - 1, MOST_POINTS).astype(np.int64))
    places = PCA(2, random_state=0).fit_transform(answer.embedding[rows])
    by_expert = answer.share is not None
    group = answer.share[rows].argmax(axis=1) if answer.share is not None else test.label[rows]
    palette = colors(int(group.max()) + 1)
    canvas = Canvas(figsize=(8, 5.6), layout="constrained")
    axes = canvas.subplots()
    for number in np.unique(group):
        for label in range(len(data.classes)):
            inside = (group == number) & (test.label[rows] == label)
            axes.scatter(
                places[inside, 0],
                places[inside, 1],
                s=14,
                color=palette[number],
                alpha=0.6,
                linewidths=0,
                marker=MARKERS[label % len(MARKERS)],
            )
    handles: list[Any] = [
        Patch(color=palette[n], label=f"expert {n}" if by_expert else data.classes[n])
        for n in np.unique(group)
    ]
    handles += [
        axes.scatter([], [], color=THIRD, marker=MARKERS[n % len(MARKERS)], label=name)
        for n, name in enumerate(data.classes)
        if by_expert
    ]
    canvas.legend(handles=handles, frameon=False, fontsize=8, loc="outside right center")
    axes.set_xticks([])
    axes.set_yticks([])
    caption = (
        "Embeddings of test segments on their two principal components. Colours are experts, "
        "markers are true classes."
    )
    return Figure(save_chart(canvas, folder, "embeddings"), "Map of embeddings", caption)


def curves(data: AcousticData, test: Segments, answer: Answer, folder: Path) -> Figure:
    """ROC and precision-recall curves of each class, by recording."""
    voted, _ = by_recording(answer, test.recording)
    _, first = np.unique(test.recording, return_index=True)
    truth = test.label[first]
    canvas = Canvas(figsize=(9.5, 4), layout="constrained")
    left, right = canvas.subplots(1, 2)
    for label, (name, color) in enumerate(
        zip(data.classes, colors(len(data.classes)), strict=True)
    ):
        own = truth == label
        if not 0 < own.mean() < 1:
            continue
        false, hits, _ = roc_curve(own, voted.probability[:, label])
        precision, recall, _ = precision_recall_curve(own, voted.probability[:, label])
        left.plot(false, hits, color=color, label=name)
        right.plot(recall, precision, color=color, label=name)
    left.plot([0, 1], [0, 1], ":", color=THIRD)
    left.set(xlabel="false alarms", ylabel="hits", title="ROC")
    right.set(xlabel="recall", ylabel="precision", title="precision and recall", ylim=(0, 1.02))
    left.legend(frameon=False, fontsize=8)
    caption = "Each class against all others, over test recordings."
    return Figure(save_chart(canvas, folder, "curves"), "ROC and precision-recall", caption)


def training_curves(history: Sequence[Mapping[str, float]], folder: Path) -> Figure:
    """Loss and validation figures by epoch."""
    epochs = [row["epoch"] for row in history]
    canvas = Canvas(figsize=(11, 2.9), layout="constrained")
    for axes, name, title in zip(
        canvas.subplots(1, 3),
        ("loss", "val_loss", "val_accuracy"),
        ("training loss", "validation cross-entropy", "validation accuracy, by recording"),
        strict=True,
    ):
        values: npt.NDArray[Any] = np.array([row.get(name, np.nan) for row in history])
        axes.plot(epochs, values, color=MODEL, marker="o", markersize=3)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("epoch")
    caption = (
        "Training by epoch. The training loss is over augmented segments and has the balance loss "
        "in it. The epoch is chosen by the cross-entropy on the validation part."
    )
    return Figure(save_chart(canvas, folder, "training"), "Training", caption)
