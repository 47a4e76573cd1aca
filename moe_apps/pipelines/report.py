"""The page on a run, the same for all domains: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from moe_apps.pipelines.atomic_files import write_text
from moe_apps.pipelines.config import RunConfig, dump_config
from moe_apps.pipelines.environment import describe_environment
from moe_apps.pipelines.run_folder import RunFolder

Value = float | int | str | None
Better = Literal["min", "max"]


class Cell(NamedTuple):
    """A formatted value of a table, and whether it is the best of its column."""

    text: str
    best: bool


@dataclass(frozen=True)
class Table:
    """A table of named rows.

    Attributes:
        title: Heading.
        rows: Row name to column name to value; a column that a row lacks is shown as a dash.
        better: For columns in which one value is best: whether that is the smallest or largest.
        highlight: Name of the row to set off.
        note: Sentence under the heading.

    Example:
        >>> table = Table("Test", {"model": {"mse": 0.5}, "naive": {"mse": 0.7}}, {"mse": "min"})
        >>> [cells for name, cells in table.formatted()]
        [[Cell(text='0.5000', best=True)], [Cell(text='0.7000', best=False)]]
    """

    title: str
    rows: Mapping[str, Mapping[str, Value]]
    better: Mapping[str, Better] = field(default_factory=dict)
    highlight: str | None = None
    note: str = ""

    @property
    def columns(self) -> list[str]:
        """Names of all columns, in the order in which the rows bring them."""
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))

    def formatted(self) -> Iterator[tuple[str, list[Cell]]]:
        """Yield each row's name and cells."""
        best = {column: self._best(column) for column in self.columns}
        for name, row in self.rows.items():
            values = [(column, row.get(column)) for column in self.columns]
            yield (
                name,
                [
                    # Two values that look the same in the table are equally good.
                    Cell(show(value), best[column] is not None and show(value) == best[column])
                    for column, value in values
                ],
            )

    def _best(self, column: str) -> str | None:
        values = [row.get(column) for row in self.rows.values()]
        numbers = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
        if column not in self.better or not numbers:
            return None
        return show(min(numbers) if self.better[column] == "min" else max(numbers))


@dataclass(frozen=True)
class Figure:
    """A picture of the report.

    Attributes:
        file: PNG file; its content goes into the page.
        title: What it shows, in a few words.
        caption: What there is to see in it; also read to those who cannot see it.
    """

    file: Path
    title: str
    caption: str

    def embedded(self) -> str:
        """Return the picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.file.read_bytes()).decode("ascii")


@dataclass(frozen=True)
class Report:
    """What a domain says on the page, from top to bottom.

    Attributes:
        title: Heading.
        summary: The result in a sentence, such as that of `verdict`.
        results: The model beside dense twin and baselines.
        subtitle: Line under the heading: system, data, date.
        facts: A few figures to show large, such as numbers of parameters.
        figures: Pictures.
        reading: What the experts do, in sentences (see `reading`).
        tables: Further tables, such as what each expert took.
        notes: What was found in the data, and done about it.
    """

    title: str
    summary: str
    results: Table
    subtitle: str = ""
    facts: Mapping[str, Value] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    reading: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def write_report(report: Report, run: RunFolder, config: RunConfig) -> None:
    """Write the page of a run, with its settings, its environment and what to do with it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> report = Report("Demo", "It works.", Table("Test", {"model": {"mse": 0.5}}))
        >>> with TemporaryDirectory() as folder:
        ...     run = RunFolder(Path(folder))
        ...     write_report(report, run, RunConfig(domain="forecasting"))
        ...     "moe-apps train forecasting --config" in run.report_file.read_text()
        True
    """
    environment = Environment(
        loader=PackageLoader("moe_apps.pipelines"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["show"] = show
    page = environment.get_template("report.html").render(
        report=report,
        steps=_steps(run, config.domain),
        configuration=dump_config(config),
        environment=describe_environment(),
    )
    write_text(run.report_file, page)


def _steps(run: RunFolder, domain: str) -> dict[str, tuple[str, ...]]:
    """Return the commands that repeat, use and serve a run."""
    folder = shlex.quote(str(run.path))
    config = shlex.quote(str(run.config_file))
    return {
        "Repeat": (f"moe-apps train {domain} --config {config} --output again",),
        "Use": (
            f"moe-apps evaluate {folder}",
            f"moe-apps predict {folder} --input FILE --output ANSWERS",
            f"moe-apps demo {domain} --runs {folder}",
        ),
        "Serve": (
            f"moe-apps export {folder} --to served",
            "moe-apps serve served",
            f"moe-apps call http://127.0.0.1:8501 {domain} --input FILE --run {folder}",
        ),
    }


def verdict(table: Table, ours: str, metric: str, label: str | None = None) -> str:
    """Say how a model stands against all other rows, also when it loses.

    Args:
        table: Results; `table.better[metric]` says which way is better.
        ours: Row of the model.
        metric: Column to compare by; rows without a number there are left out.
        label: How to call the metric; `None` for its name.

    Example:
        >>> rows = {"MoE": {"mse": 0.4}, "ridge": {"mse": 0.32}, "naive": {"mse": 0.8}}
        >>> verdict(Table("Test", rows, {"mse": "min"}), "MoE", "mse")
        'ridge is better than MoE: mse 0.3200 against 0.4000. MoE is number 2 of 3.'
    """
    label = label or metric
    values = {
        name: float(value)
        for name, row in table.rows.items()
        if isinstance(value := row.get(metric), int | float) and math.isfinite(value)
    }
    if ours not in values:
        return f"{ours} has no {label} to compare by."
    mine = values.pop(ours)
    if not values:
        return f"{ours} has {label} {show(mine)}; there is nothing to compare it with."
    sign = 1 if table.better[metric] == "min" else -1
    rival = min(values, key=lambda name: sign * values[name])
    theirs, count = values[rival], len(values) + 1
    if mine == theirs:
        return f"{ours} and {rival} are equally good: {label} {show(mine)}."
    if sign * mine < sign * theirs:
        against = f"{label} {show(mine)} against {show(theirs)}"
        return f"{ours} is the best of {count}: {against} of the next, {rival}."
    place = 1 + sum(sign * value < sign * mine for value in values.values())
    against = f"{label} {show(theirs)} against {show(mine)}"
    return f"{rival} is better than {ours}: {against}. {ours} is number {place} of {count}."


def show(value: Value) -> str:
    """Return a value as people read it: four digits, thousands apart, a dash for none.

    Example:
        >>> [show(value) for value in (0.38512, 12345.678, 113352192, 0.0000123, None, "ETTh1")]
        ['0.3851', '12,346', '113,352,192', '1.230e-05', '-', 'ETTh1']
    """
    if value is None or isinstance(value, str):
        return value or "-"
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    if 0 < size < 1e-3:
        return f"{value:.3e}"
    decimals = max(0, 3 - math.floor(math.log10(size))) if size >= 1 else 4
    return f"{value:,.{decimals}f}"
