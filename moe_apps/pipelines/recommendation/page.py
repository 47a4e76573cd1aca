"""The report of a recommendation run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moe_apps.pipelines.reading import reading
from moe_apps.pipelines.recommendation import figures
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.diagnostics import NEGLECTED, ONE_TASK, SCALE, ZEROS
from moe_apps.pipelines.recommendation.prepared import Prepared
from moe_apps.pipelines.report import Better, Report, Table, verdict, write_report
from moe_apps.pipelines.run_folder import RunFolder

BETTER: dict[str, Better] = {
    "score": "max",
    "auc": "max",
    "gauc": "max",
    "ndcg": "max",
    "log_loss": "min",
    "normalised_entropy": "min",
    "calibration_error": "min",
    "rmse": "min",
    "mae": "min",
    "r2": "max",
    "mrr": "max",
    "qini": "max",
    "auuc": "max",
}
OF_TASK = (
    "auc",
    "gauc",
    "ndcg",
    "log_loss",
    "normalised_entropy",
    "calibration_ratio",
    "calibration_error",
    "rmse",
    "mae",
    "r2",
)


def write_page(
    run: RunFolder,
    config: RecommendationConfig,
    data: Prepared,
    answers: Mapping[str, Any],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Draw the figures and write `report.html`."""
    scores = _scores(metrics)
    names = {name: config.model.name if name == "model" else name for name in scores}
    ours = config.model.name
    results = Table(
        "Test results",
        {
            names[system]: {"score": row.get("score"), **_main_figures(data, row)}
            for system, row in scores.items()
        },
        BETTER,
        highlight=ours,
        note=_note(data, config),
    )
    drawn = [
        figures.training_curves(history, run.figures),
        figures.by_activity(
            data.schema,
            {name: row.get("slices", {}) for name, row in scores.items()},
            run.figures,
        ),
    ]
    if any(task.kind == "binary" for task in data.schema.tasks):
        drawn.append(figures.calibration(data.schema, data.test, answers, run.figures))
    if metrics["routing"]["gates"]:
        drawn.insert(0, figures.gate_weights(metrics["routing"]["gates"], run.figures))
    report = Report(
        title="Recommendation run",
        subtitle=f"{ours} on {data.facts['source']}",
        summary=verdict(results, ours, "score"),
        results=results,
        facts={
            "parameters": metrics["parameters"]["total"],
            "test rows": data.facts["rows"]["test"],
            "tasks": len(data.schema.tasks),
            "minutes of training": round(metrics["timing"]["training_seconds"] / 60, 1),
        },
        figures=tuple(figure for figure in drawn if figure is not None),
        reading=tuple(
            reading(
                gate["weight"],
                tells={"domain": gate["specialisation"]} if "specialisation" in gate else None,
                groups=gate.get("by_domain"),
                where=f"Gate {name}",
            )
            for name, gate in metrics["routing"]["gates"].items()
        ),
        tables=tuple(
            [
                *_task_tables(data, scores, names),
                *_ranking_tables(scores, names),
                *_uplift_tables(scores, names),
                *_slice_tables(data, scores, names),
                *_expert_tables(metrics["routing"]),
            ]
        ),
        notes=tuple(data.facts["notes"]),
    )
    write_report(report, run, config)


def _scores(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    twin = {"dense twin": metrics["dense_twin"]} if metrics["dense_twin"] else {}
    others = {name.replace("_", " "): row for name, row in metrics["baselines"].items()}
    return {"model": metrics["test"], **twin, **others}


def _main_figures(data: Prepared, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{task.name}: {task.metric}": row.get("tasks", {}).get(task.name, {}).get(task.metric)
        for task in data.schema.tasks
    }


def _note(data: Prepared, config: RecommendationConfig) -> str:
    rows, cold = data.facts["rows"], data.facts["cold"]
    who = "".join(
        f" {share:.1%} of the test rows have {'an' if name.startswith('item') else 'a'} "
        f"{name.split('_')[0]} {'without an id' if 'missing' in name else 'that training has not'}."
        for name, share in cold.items()
        if share
    )
    return (
        f"Split {data.facts['split']}, seed {config.seed}: {rows['train']:,} training, "
        f"{rows['validation']:,} validation, {rows['test']:,} test rows.{who} Score: mean over "
        "the tasks of the metric named (R squared for rmse and mae, 1 - normalised entropy for "
        "log_loss)."
    )


def _task_tables(data: Prepared, scores: Mapping[str, Any], names: Any) -> list[Table]:
    made = []
    for task in data.schema.tasks:
        rows = {
            names[system]: {
                key: row["tasks"][task.name][key]
                for key in OF_TASK
                if key in row["tasks"][task.name]
            }
            for system, row in scores.items()
            if task.name in row.get("tasks", {})
        }
        made.append(
            Table(
                f"Task {task.name}",
                rows,
                BETTER,
                highlight=names["model"],
                note=f"{task.kind}, label `{task.label}`. GAUC: mean of the users' AUC, weighted "
                "by rows, over users with both classes."
                if task.kind == "binary"
                else f"{task.kind}, label `{task.label}`.",
            )
        )
    return made


def _ranking_tables(scores: Mapping[str, Any], names: Any) -> list[Table]:
    rows = {names[system]: row["ranking"] for system, row in scores.items() if "ranking" in row}
    if not rows:
        return []
    first = next(iter(rows.values()))
    better: dict[str, Better] = {
        key: "max" for key in first if key.startswith(("hr@", "ndcg@", "mrr"))
    }
    shown = {
        name: {key: value for key, value in row.items() if key != "protocol"}
        for name, row in rows.items()
    }
    return [Table("Ranking", shown, better, highlight=names["model"], note=first["protocol"])]


def _uplift_tables(scores: Mapping[str, Any], names: Any) -> list[Table]:
    by_task: dict[str, dict[str, dict[str, Any]]] = {}
    for system, row in scores.items():
        for task, treatments in row.get("uplift", {}).items():
            by_task.setdefault(task, {})[names[system]] = {
                f"{treatment}: {key}": values[key]
                for treatment, values in treatments.items()
                for key in ("qini", "auuc", "effect")
            }
    note = "Per treated person: Qini is the area between the gain curve and its chord."
    return [
        Table(
            f"Uplift of {task}",
            rows,
            {key: "max" for row in rows.values() for key in row if "effect" not in key},
            highlight=names["model"],
            note=note,
        )
        for task, rows in by_task.items()
    ]


def _slice_tables(data: Prepared, scores: Mapping[str, Any], names: Any) -> list[Table]:
    made = []
    for task in data.schema.tasks:
        rows: dict[str, dict[str, Any]] = {}
        for system, row in scores.items():
            for one in row.get("slices", {}).get(task.name, ()):
                name = f"{one['kind']}: {one['slice']}"
                rows.setdefault(name, {"rows": one["rows"]})[names[system]] = one.get(task.metric)
        if rows:
            made.append(Table(f"Task {task.name}: {task.metric} by part of the test rows", rows))
    return made


def _expert_tables(routing: Mapping[str, Any]) -> list[Table]:
    if not routing["experts"]:
        return []
    signs = {
        f"{row['sign']}: {row['where']} ({row['pool']})": {"what": row["what"]}
        for row in routing["signs"]
    } or {"none": {"what": "no sign on the rows looked at"}}
    note = (
        f"Collapse: outputs beyond {SCALE:g} times the pool's median deviation, or {ZEROS:.0%} "
        f"zeros. Degradation: a shared expert has over {ONE_TASK:.0%} of its weight from one task. "
        f"Underfitting: a task's own experts get under {NEGLECTED:.0%} of an equal share. The "
        "thresholds are ours."
    )
    rows = {
        f"{row['pool']} {row['expert']}": {
            key: value for key, value in row.items() if key not in ("pool", "expert")
        }
        for row in routing["experts"]
    }
    return [
        Table("Signs of failing experts", signs, note=note),
        Table("Experts on test rows", rows, note="Outputs of each expert, and its mean weights."),
    ]
