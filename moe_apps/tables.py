"""What the command line shows people, as tables."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from io import StringIO
from typing import Any, TypeGuard

from rich.console import Console
from rich.markup import escape
from rich.table import Table

MODEL, TWIN = "the model", "dense twin"
YES_NO = {True: "yes", False: "no", None: ""}


def show_domains(rows: list[dict[str, Any]]) -> None:
    """Print domains with their systems and papers."""
    console = _console()
    for row in rows:
        console.print(f"[bold]{row['name']}[/bold]  {row.get('title', '')}")
        console.print(f"  {row.get('problem') or row['summary']}", markup=False)
        for system in row["systems"]:
            text = f"  {system['name']}: {system['title']}. {system['paper']} {system['url']}"
            console.print(text, markup=False)
    if not rows:
        console.print("No domain is installed.")


def show_layers(rows: list[dict[str, Any]]) -> None:
    """Print the catalogue of layers, a table a kind."""
    console = _console()
    for kind in dict.fromkeys(row["kind"] for row in rows):
        table = Table(title=f"{kind}s", title_justify="left")
        for column in ("name", "for", "source", "batch-independent", "causal"):
            table.add_column(column)
        for row in rows:
            if row["kind"] == kind:
                mark = " (interpretation)" if row["interpretation"] else ""
                table.add_row(
                    row["name"],
                    escape(row["purpose"] or ""),
                    escape(f"{row['paper'] or ''}{mark}"),
                    *(YES_NO[row[claim]] for claim in ("batch_independent", "causal")),
                )
        console.print(table)


def show_facts(facts: Mapping[str, Any]) -> None:
    """Print nested facts, lists of equal mappings as tables, `notes` and a `draft` at the end."""
    console = _console()
    _show_facts(console, facts, "")
    for note in facts.get("notes", ()):
        console.print(f"note: {note}", markup=False)
    if "draft" in facts:
        console.print(f"\n{facts['draft']}", markup=False, soft_wrap=True, end="")


def _show_facts(console: Console, facts: Mapping[str, Any], indent: str) -> None:
    for name, value in facts.items():
        label = str(name).replace("_", " ")
        if isinstance(value, Mapping):
            console.print(f"{indent}{label}:", markup=False)
            _show_facts(console, value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            table = Table(title=f"{indent}{label}", title_justify="left")
            for column in value[0]:
                table.add_column(str(column).replace("_", " "))
            for row in value:
                table.add_row(*(escape(_fact(cell)) for cell in row.values()))
            console.print(table)
        elif name not in ("notes", "draft"):
            console.print(f"{indent}{label}: {_fact(value)}", markup=False)


def _fact(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_fact, value))
    if value is None:
        return "-"
    return _shown(value) if isinstance(value, float) else str(value)


def show_results(metrics: Mapping[str, Any], headline: str, higher_is_better: bool) -> None:
    """Print the model beside its dense twin and baselines, best first, and say who is best."""
    rows = sorted(
        _compared(metrics).items(), key=lambda row: _rank(row[1], headline, higher_is_better)
    )
    # Whole numbers are counts, not errors.
    columns = [name for name, value in metrics["test"].items() if isinstance(value, float)]
    table = Table(
        title=f"{metrics['domain']}: {metrics['system']}, test part", title_justify="left"
    )
    table.add_column("")
    for column in columns:
        table.add_column(f"{column} *" if column == headline else column, justify="right")
    for name, values in rows:
        cells = [_shown(values.get(column)) for column in columns]
        table.add_row(name, *cells, style="bold" if name == MODEL else None)
    console = _console()
    console.print(table)
    console.print(verdict(dict(rows), headline, higher_is_better), markup=False)
    parameters = metrics.get("parameters", {})
    if "total" in parameters and "active" in parameters:
        total, active = parameters["total"], parameters["active"]
        console.print(f"Parameters: {total:,} in all, {active:,} active for one input.")
    for name, path in metrics.get("paths", {}).items():
        if name in ("run", "report", "saved_model"):
            console.print(f"{name}: {path}", markup=False, soft_wrap=True)


def verdict(rows: Mapping[str, Mapping[str, Any]], headline: str, higher_is_better: bool) -> str:
    """Return one honest sentence on how the model stands among `rows` (name to metrics).

    Example:
        >>> verdict({"the model": {"mse": 0.4}, "ridge": {"mse": 0.37}}, "mse", False)
        'ridge does better than the model: mse 0.37 against 0.4.'
    """
    ranks = {name: _rank(row, headline, higher_is_better) for name, row in rows.items()}
    if math.isinf(ranks[MODEL]):
        return f"The model has no {headline}: its training went wrong."
    own = _shown(rows[MODEL][headline])
    better = sorted((rank, name) for name, rank in ranks.items() if rank < ranks[MODEL])
    if better:
        best = better[0][1]
        more = f", and {len(better) - 1} more do" if len(better) > 1 else ""
        value = _shown(rows[best][headline])
        return f"{best} does better than the model: {headline} {value} against {own}{more}."
    extreme = "highest" if higher_is_better else "lowest"
    return f"The model has the {extreme} {headline} of these: {own}."


def show_runs(rows: list[dict[str, Any]]) -> None:
    """Print runs with their baselines, a table a domain; runs judged by the same test together."""
    console = _console()
    for domain in dict.fromkeys(row["domain"] for row in rows):
        of_domain = [row for row in rows if row["domain"] == domain]
        table = Table(title=f"{domain}: {of_domain[0]['metric']}", title_justify="left")
        for column in ("run", "test part", MODEL, TWIN, "baselines"):
            figures = column in (MODEL, TWIN)
            table.add_column(column, justify="right" if figures else "left", no_wrap=figures)
        for row in of_domain:
            sign = -1 if row["higher_is_better"] else 1
            baselines = sorted(row["baselines"].items(), key=lambda one: sign * one[1])
            about = (
                f"{row['run']}{' *' if row['champion'] else ''}",
                f"{row['system'] or '-'}, seed {'-' if row['seed'] is None else row['seed']}",
                row["started"][:16].replace("T", " "),
            )
            table.add_row(
                escape("\n".join(about)),
                (row["test_digest"] or "-")[:8],
                _shown(row["model"]),
                _shown(row["dense_twin"]),
                escape("\n".join(f"{_shown(v)} {n.replace('_', ' ')}" for n, v in baselines)),
            )
            table.add_section()
        console.print(table)
    if not rows:
        console.print("No run with a result is tracked here.")
    if any(row["champion"] for row in rows):
        console.print("* its model has the alias champion", markup=False)
    if len({row["test_digest"] for row in rows}) > len({row["domain"] for row in rows}):
        console.print("Figures can be compared where `test part` is the same.", markup=False)


def show_tuning(found: Mapping[str, Any]) -> None:
    """Print the trials of a study, best first, and how to train with the best settings."""
    sign = -1 if found["higher_is_better"] else 1
    order = ("complete", "pruned", "fail", "waiting", "running")

    def place(row: Mapping[str, Any]) -> tuple[int, float]:
        value = row["value"]
        return order.index(row["state"]), math.inf if value is None else sign * value

    rows = sorted(found["trials"], key=place)
    names = list(dict.fromkeys(name for row in rows for name in row["settings"]))
    table = Table(title=f"{found['domain']}: {found['metric']} on validation", title_justify="left")
    for column in ("trial", "state", found["metric"], "epochs", *names):
        is_state = column == "state"
        justify: Any = "left" if is_state else "right"
        table.add_column(column, justify=justify, no_wrap=is_state, overflow="fold")
    for row in rows:
        settings = [row["settings"].get(name) for name in names]
        state = "interrupted" if row["state"] == "fail" and not row["reason"] else row["state"]
        best = row["number"] == found["best"]["number"]
        table.add_row(
            str(row["number"]),
            state,
            _shown(row["value"]),
            str(row["epochs"]),
            *map(_fact, settings),
            style="bold" if best else None,
        )
    console = _console()
    console.print(table)
    for row in rows:
        if row["reason"]:
            console.print(f"trial {row['number']} failed: {row['reason']}", markup=False)
    command = f"moe-apps train {found['domain']} --config {found['best_config']}"
    console.print(f"Train with the best of them by: {command}", markup=False, soft_wrap=True)


def runs_as_csv(rows: list[dict[str, Any]]) -> str:
    """Return runs as CSV, a column for each baseline.

    Example:
        >>> print(runs_as_csv([{"run": "a", "model": 0.5, "baselines": {"ridge": 0.4}}]), end="")
        run,model,baselines.ridge
        a,0.5,0.4
    """
    flat = [
        {
            **{name: value for name, value in row.items() if name != "baselines"},
            **{f"baselines.{name}": value for name, value in row["baselines"].items()},
        }
        for row in rows
    ]
    text = StringIO()
    columns = list(dict.fromkeys(name for row in flat for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def show_examination(found: Mapping[str, Any]) -> None:
    """Print what `moe_apps.doctor.examine` returned."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, version in found["versions"].items():
        table.add_row(name, version or "not installed")
    table.add_row("devices", ", ".join(found["devices"]))
    for name, check in found["checks"].items():
        table.add_row(name, ("ok: " if check["ok"] else "FAILED: ") + check["detail"])
    for extra, missing in found["extras"].items():
        table.add_row(f"extra {extra}", _presence(missing))
    for name in ("memory", "disk"):
        table.add_row(name, f"{found[name]['free']} GiB free of {found[name]['total']}")
    _console().print(table, markup=False)


def _presence(missing: list[str]) -> str:
    if not missing:
        return "present"
    more = f" and {len(missing) - 2} more" if len(missing) > 2 else ""
    return f"missing: {', '.join(missing[:2])}{more}"


def _console() -> Console:
    return Console(highlight=False)


def _compared(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    twin = metrics.get("dense_twin")
    return {
        MODEL: metrics["test"],
        **({TWIN: twin} if twin else {}),
        **metrics.get("baselines", {}),
    }


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rank(values: Mapping[str, Any], headline: str, higher_is_better: bool) -> float:
    value = values.get(headline)
    if not _is_number(value) or not math.isfinite(value):
        return math.inf
    return -value if higher_is_better else value


def _shown(value: Any) -> str:
    return f"{value:.4g}" if _is_number(value) else "-"
