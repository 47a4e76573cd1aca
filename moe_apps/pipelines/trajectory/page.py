"""The report of a trajectory run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moe_apps.pipelines.reading import reading
from moe_apps.pipelines.report import Better, Report, Table, verdict, write_report
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.trajectory import figures
from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.data import TrajectoryData
from moe_apps.pipelines.trajectory.replays import replays

NAME = "TMMOE"


def write_page(
    run: RunFolder,
    config: TrajectoryConfig,
    data: TrajectoryData,
    answers: Mapping[str, Answer],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Draw the figures and write `report.html`."""
    scores = _scores(metrics)
    labels = _labels(config)
    rows = {
        name: {label: errors.get(key) for key, label in labels.items()}
        for name, errors in scores.items()
    }
    better: dict[str, Better] = {
        label: "max" if "F1" in label else "min" for label in labels.values()
    }
    facts, test = metrics["data"], metrics["test"]
    note = (
        f"{facts['windows']['test']:,} test windows, split by {facts['split_by']}, history "
        f"{config.data.history:g} s and horizon {config.data.horizon:g} s at {config.data.rate:g} "
        f"Hz, seed {config.seed}. F1 over as many windows of each intention."
    )
    results = Table("Test errors", rows, better, highlight=NAME, note=note)
    drawn = [
        replays(data, answers["model"], run.figures),
        figures.error_by_horizon(
            {n: e["rmse_by_step"] for n, e in scores.items() if e.get("rmse_by_step")},
            config.data.rate,
            run.figures,
        ),
        *_drawn(metrics, scores, run),
        figures.training_curves(history, run.figures),
    ]
    report = Report(
        title="Trajectory run",
        subtitle=f"{NAME} ({config.model.preset}, {config.model.gate}) on {facts['source']}",
        summary=verdict(results, NAME, labels["final_rmse"]),
        results=results,
        facts={
            "parameters": metrics["parameters"]["total"],
            "test windows": facts["windows"]["test"],
            "lane changes": sum(facts["lane_changes"].values()),
            "minutes of training": round(metrics["timing"]["training_seconds"] / 60, 1),
        },
        figures=tuple(drawn),
        reading=tuple(
            reading(
                one["load"],
                tells={"intention": one["specialisation"]},
                groups=one["by_intention"],
                where=f"Gate of {task}",
            )
            for task, one in metrics["routing"].get("tasks", {}).items()
        ),
        tables=tuple(_tables(scores, test, metrics)),
        notes=tuple(facts["notes"]),
    )
    write_report(report, run, config)


def _labels(config: TrajectoryConfig) -> dict[str, str]:
    return {
        "final_rmse": f"RMSE at {config.data.horizon:g} s (m)",
        "ade": "ADE (m)",
        "fde": "FDE (m)",
        "min_ade": "best mode's ADE (m)",
        "min_fde": "best mode's FDE (m)",
        "miss_rate": "miss rate",
        "nll": "NLL (nats)",
        "macro_f1": "macro F1",
        "macro_f1_near": f"macro F1 within {config.evaluation.near_crossing:g} s",
    }


def _scores(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    twin = {"dense twin": metrics["dense_twin"]} if metrics["dense_twin"] else {}
    others = {name.replace("_", " "): errors for name, errors in metrics["baselines"].items()}
    return {NAME: metrics["test"], **twin, **others}


def _drawn(
    metrics: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]], run: RunFolder
) -> list[Any]:
    test, drawn = metrics["test"], []
    if test["intention"]:
        drawn.append(figures.confusion(test["intention"]["confusion"], run.figures))
        over_time = {
            name: errors["intention"]["by_time_to_crossing"]
            for name, errors in scores.items()
            if errors.get("intention") and errors["intention"]["by_time_to_crossing"]
        }
        if over_time.get(NAME):
            drawn.append(figures.by_time_to_crossing(over_time, run.figures))
    if metrics["routing"]:
        gates = figures.gates_over_time(metrics["routing"], run.figures)
        drawn += [gates] if gates else []
    if test["calibration"]:
        drawn.append(figures.calibration_curves(test["calibration"], run.figures))
    return drawn


def _tables(
    scores: Mapping[str, Mapping[str, Any]], test: Mapping[str, Any], metrics: Mapping[str, Any]
) -> list[Table]:
    better: dict[str, Better] = dict.fromkeys(test["rmse"], "min")
    tables = []
    for key, title in (
        ("rmse", "RMSE by second (m)"),
        ("rmse_longitudinal", "RMSE along the road (m)"),
        ("rmse_lateral", "RMSE across the road (m)"),
        ("rmse_lane_changes", "RMSE before lane changes (m)"),
    ):
        rows = {name: errors[key] for name, errors in scores.items() if errors.get(key)}
        if rows:
            tables.append(Table(title, rows, better, highlight=NAME))
    if test["intention"]:
        found = {n: e["intention"] for n, e in scores.items() if e.get("intention")}
        rows = {
            name: {
                "accuracy": one["accuracy"],
                "precision": one["macro_precision"],
                "recall": one["macro_recall"],
                "F1, natural shares": one["natural"]["macro_f1"],
                "accuracy, natural shares": one["natural"]["accuracy"],
                "seconds seen ahead": (one["anticipation"] or {}).get("mean_seconds"),
            }
            for name, one in found.items()
        }
        note = (
            "Means over the intentions. Natural shares: all windows, of which most keep their "
            "lane. Seen ahead: mean time before the crossing at 5 % of false alarms."
        )
        columns: dict[str, Better] = dict.fromkeys(next(iter(rows.values())), "max")
        tables.append(Table("Intentions", rows, columns, highlight=NAME, note=note))
    tasks = metrics["routing"].get("tasks", {})
    if tasks:
        rows = {
            task: {
                **{f"expert {e}": weight for e, weight in enumerate(one["load"])},
                "evenness of loads": one["load_entropy"],
                "evenness of a window": one["gate_entropy"],
                "knows the intention": one["specialisation"],
            }
            for task, one in tasks.items()
        }
        note = (
            "Mean gate weights over test windows. Evenness: entropy over its maximum. Knows the "
            "intention: mutual information of expert and intention over the experts' entropy."
        )
        tables.append(Table("Gates", rows, note=note))
    return tables
