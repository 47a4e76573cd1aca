"""What-ifs of the recommendation tab: one feature takes other values, all else stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from moe_apps.demos.charts import COLORS, GREY, plain
from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.preprocessing import Preprocessing
from moe_apps.pipelines.recommendation.schema import DenseField, Schema, SequenceField
from moe_apps.pipelines.recommendation.table import Codes

MOST_VALUES = 12
"""Values of a category that are gone through."""
MOST_NUMBERS = 24
"""The same, of categories that are numbers from 0 on, such as hours."""
STEPS = 11
"""Values of a number that are gone through, from two deviations below the mean to two above."""


def fields(schema: Schema) -> list[str]:
    """Names of the numbers and categories that a what-if can take; ids are none."""
    ids = (schema.user, schema.item)
    return [
        one.name
        for one in schema.fields
        if not isinstance(one, SequenceField) and one.column not in ids
    ]


def values_of(preprocessing: Preprocessing, name: str, now: str) -> tuple[Any, list[str]]:
    """A column of the values that a what-if goes through, and the values as text.

    Args:
        preprocessing: Of the run.
        name: Of a dense or categorical field.
        now: Its value as typed, which is one of them where it is a category.
    """
    field: Any = preprocessing.schema.field(name)
    if isinstance(field, SequenceField):
        raise DataError(f"feature '{name}': is a list; a what-if takes a number or a category")
    if isinstance(field, DenseField):
        mean, deviation = preprocessing.scales[name]
        values = np.linspace(mean - 2 * deviation, mean + 2 * deviation, STEPS)
        if field.transform == "log1p":
            values = np.sign(values) * np.expm1(np.abs(values))
        return values.astype(np.float32), [f"{value:.4g}" for value in values]
    if field.encoding == "integer":
        known = [str(number) for number in range(field.size or 0)]
    else:
        known = [str(value) for value in preprocessing.vocabularies.get(name, ())]
    most = MOST_NUMBERS if field.encoding == "integer" else MOST_VALUES
    texts = list(dict.fromkeys([*([now] if now else []), *known[:most]]))
    if field.type == "int":
        texts = sorted((text for text in texts if text.isdigit()), key=int)
        return Codes.of(np.array([int(text) for text in texts], np.int64)), texts
    return Codes.of(np.array(texts, object)), texts


def chart(
    schema: Schema, name: str, texts: Sequence[str], answers: Mapping[str, Any], now: str
) -> go.Figure:
    """Each task's answer by the value of one feature; the value as typed is marked."""
    binary = [task.name for task in schema.tasks if task.kind == "binary"]
    panels = [
        *([binary] if binary else []),
        *([t.name] for t in schema.tasks if t.name not in binary),
    ]
    titles = ["probability" if panel == binary else panel[0] for panel in panels]
    figure = make_subplots(
        len(panels),
        1,
        shared_xaxes=True,
        subplot_titles=titles,
        vertical_spacing=0.22 / len(panels),
    )
    number = isinstance(schema.field(name), DenseField)
    x: list[Any] = [float(text) for text in texts] if number else list(texts)
    for row, panel in enumerate(panels, start=1):
        for task in panel:
            place = [one.name for one in schema.tasks].index(task)
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=np.asarray(answers[task], float).round(5).tolist(),
                    mode="lines+markers" if number else "markers",
                    name=task,
                    marker={"size": 9, "color": COLORS[place % len(COLORS)]},
                    hovertemplate="%{x}: %{y:.3g}",
                ),
                row,
                1,
            )
        if panel == binary:
            figure.update_yaxes(tickformat=".1%", row=row, col=1)
    here = float(now) if number and now else now
    if now and (number or now in texts):
        figure.add_vline(x=here, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text=name, row=len(panels), col=1)
    if not number:
        figure.update_xaxes(type="category")
    return plain(figure, height=130 + 190 * len(panels))


def words(
    schema: Schema,
    name: str,
    texts: Sequence[str],
    answers: Mapping[str, Any],
    now: str,
    item: str,
) -> str:
    """For which value the first task's answer is highest and lowest."""
    task = schema.tasks[0]
    values = np.asarray(answers[task.name], float)
    best, worst = int(values.argmax()), int(values.argmin())
    form = ".1%" if task.kind == "binary" else ".3g"
    return (
        f"**{task.name} of {item}**, all else as it is (now {name} is {now or 'missing'}): highest "
        f"for {texts[best]} ({values[best]:{form}}), lowest for {texts[worst]} "
        f"({values[worst]:{form}})."
    )
