"""What is typed and shown in the recommendation tab: features, lists, gates, what-ifs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq

from moe_apps.demos.charts import COLORS, expert_shares, plain
from moe_apps.demos.reading import expert_reading
from moe_apps.errors import DataError
from moe_apps.pipelines.atomic_files import read_json
from moe_apps.pipelines.recommendation.candidates import is_of_item
from moe_apps.pipelines.recommendation.kept_files import EXAMPLE_FILE
from moe_apps.pipelines.recommendation.schema import DenseField, Schema, SequenceField
from moe_apps.pipelines.recommendation.table import Table
from moe_apps.pipelines.run_folder import RunFolder

FEATURE, VALUE = "feature", "value"
"""Columns of the table of features."""
NEW_USER = "a new user"


def typed_fields(schema: Schema) -> list[Any]:
    """The fields that a visitor can type: no ids, no made histories.

    Nor those of items, where there are users and items, from which lists are made.
    """
    listed = schema.user is not None and schema.item is not None
    return [
        one
        for one in schema.fields
        if not (listed and is_of_item(schema, one))
        and one.column != schema.user
        and not getattr(one, "history_of", None)
    ]


def features_of(table: Table, schema: Schema, row: int = 0) -> pd.DataFrame:
    """A row's typed fields as text, columns `feature` and `value`; a missing value is blank."""
    rows = [(one.name, as_text(one, table.columns[one.name], row)) for one in typed_fields(schema)]
    return pd.DataFrame(rows, columns=[FEATURE, VALUE])


def as_text(field: Any, column: Any, row: int) -> str:
    """A cell as it is typed.

    Example:
        >>> as_text(DenseField(name="age"), np.array([30.0, np.nan]), 0)
        '30'
    """
    if isinstance(field, DenseField):
        return f"{column[row]:.6g}" if np.isfinite(column[row]) else ""
    raw, there = column[row : row + 1].raw()[0], column[row : row + 1].present[0]
    if isinstance(field, SequenceField):
        return field.separator.join(map(str, raw[there]))
    return str(raw) if there else ""


def typed_file(schema: Schema, features: pd.DataFrame, user: str | None) -> Path:
    """A file with the row that was typed; what is wrong in it is said when it is read.

    Raises:
        DataError: A feature that the schema does not know.
    """
    fields = {one.name: one for one in typed_fields(schema)}
    cells: dict[str, str | None] = {}
    for name, value in zip(features.get(FEATURE, []), features.get(VALUE, []), strict=True):
        if not name:
            continue
        if name not in fields:
            raise DataError(f"feature '{name}': is not known; expected {', '.join(fields)}")
        text = "" if value is None else str(value).strip()
        cells[fields[name].column] = text or None
    if cells:  # a sequence is read by the kind of its field, which may be the item's
        for one in schema.sequences:
            cells.setdefault(schema.field(one.of).column, None)
    if schema.user is not None:
        cells[schema.user] = (user or "").strip() or NEW_USER
    elif schema.item is not None:
        cells.setdefault(schema.item, None)
    file = Path(tempfile.mkdtemp()) / "what was typed.parquet"
    columns = {name: pa.array([cell], pa.string()) for name, cell in cells.items()}
    pq.write_table(pa.table(columns), file)
    return file


def list_chart(table: pd.DataFrame, labels: Sequence[str], schema: Schema) -> go.Figure:
    """Probabilities of each listed item, best on top, a bar a task."""
    tasks = [task.name for task in schema.tasks if task.kind == "binary"] or [schema.tasks[0].name]
    figure = go.Figure()
    for number, name in enumerate(tasks):
        figure.add_trace(
            go.Bar(
                x=table[name].round(4).tolist(),
                y=list(labels),
                name=name,
                orientation="h",
                marker={"color": COLORS[number % len(COLORS)]},
                hovertemplate=f"%{{y}}: {name} %{{x:.3g}}<extra></extra>",
            )
        )
    if schema.task(tasks[0]).kind == "binary":
        figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_layout(barmode="group", bargap=0.25)
    return plain(figure, height=150 + (14 + 12 * len(tasks)) * len(table))


def gates_chart(gates: Mapping[str, npt.NDArray[Any]], row: int = 0) -> go.Figure | None:
    """Share of each expert in each gate of one row; None without gates."""
    if not gates:
        return None
    width = max(gate.shape[1] for gate in gates.values())
    shares = np.full((len(gates), width), np.nan)
    for place, gate in enumerate(gates.values()):
        shares[place, : gate.shape[1]] = gate_share(gate[row])
    return expert_shares(shares, list(gates), [str(number) for number in range(width)])


def gate_share(weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Weights of a gate as shares by their size; those of AW-MoE may be negative.

    Example:
        >>> gate_share(np.array([0.5, -1.5])).tolist()
        [0.25, 0.75]
    """
    size = np.abs(weights.astype(float))
    return size / max(size.sum(), 1e-12)


def example_features(run: RunFolder, schema: Schema) -> pd.DataFrame:
    """Features of the example that a run keeps, for data that know no users."""
    example = read_json(run.path / EXAMPLE_FILE)
    rows = []
    for one in typed_fields(schema):
        value = example[one.name][0]
        if isinstance(value, list):
            value = one.separator.join(str(part) for part in value if part not in ("", -1))
        blank = value is None or value in ("", -1)
        rows.append(
            (one.name, "" if blank else f"{value:.6g}" if isinstance(value, float) else str(value))
        )
    return pd.DataFrame(rows, columns=[FEATURE, VALUE])


def how_sure(run: RunFolder, schema: Any, user: str | None, unknown: int, table: Any) -> str:
    """For whom, how far apart the list is, and how good such answers were on test data."""
    task = schema.tasks[0]
    whom = f"user {user}" if user else "the features as typed"
    lines = [f"**For {whom}**, by {task.name}: the best first."]
    if unknown:
        lines[0] += " The training data do not have this user: only the features count."
    if len(table) > 1 and task.kind == "binary":
        first, last = table[task.name].iloc[0], table[task.name].iloc[-1]
        lines.append(
            f"How sure: {first:.1%} for the first, {last:.1%} for number {len(table)}; the closer "
            "these are, the less the order says."
        )
    if run.metrics_file.is_file():
        found = run.read_metrics()["test"]["tasks"].get(task.name, {})
        auc, error = found.get("auc"), found.get("calibration_error")
        if auc is not None and error is not None:
            lines.append(
                f"On test data a row with a {task.name} had the higher probability than one "
                f"without in {auc:.0%} of pairs (AUC), and probabilities were off by {error:.1%} "
                "on average."
            )
    return "  \n".join(lines)


def reading_of(run: RunFolder, gates: Any) -> str:
    """What the experts of the first gate did for the first item."""
    if not gates:
        return ""
    name = next(iter(gates))
    by_domain = {}
    if run.metrics_file.is_file():
        routing = run.read_metrics()["routing"]
        by_domain = routing.get("gates", {}).get(name, {}).get("by_domain", {})
    said = expert_reading(gate_share(gates[name][0]), by_domain, "domain")
    return f"Experts of gate {name} for the first item:\n\n{said}"
