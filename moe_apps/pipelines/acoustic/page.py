"""The report of an acoustic run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moe_apps.pipelines.acoustic import figures
from moe_apps.pipelines.acoustic.answers import Answer
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.data import AcousticData
from moe_apps.pipelines.acoustic.splits import TEST
from moe_apps.pipelines.reading import reading
from moe_apps.pipelines.report import Better, Report, Table, verdict, write_report
from moe_apps.pipelines.run_folder import RunFolder

NAME = "CMoE"
LABELS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "ece": "calibration error",
    "segment_accuracy": "accuracy by segment",
}


def write_page(
    run: RunFolder,
    config: AcousticConfig,
    data: AcousticData,
    answers: Mapping[str, Answer],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Draw the figures and write `report.html`."""
    test, answer = data.of(TEST), answers["model"]
    scores = all_scores(metrics)
    rows = {
        name: {label: found[key] for key, label in LABELS.items()}
        | {"95 % interval": _percent(found["recording"]["interval"])}
        for name, found in scores.items()
    }
    better: dict[str, Better] = {
        label: "min" if key == "ece" else "max" for key, label in LABELS.items()
    }
    facts = metrics["data"]
    note = (
        f"{metrics['test']['recording']['count']:,} test recordings, "
        f"{facts['segments']['test']:,} segments, split by {facts['split_by']}, seed "
        f"{config.seed}. By recording (mean vote of its segments) where not said otherwise; "
        "Wilson intervals of the accuracy."
    )
    results = Table("Test results", rows, better, highlight=NAME, note=note)
    drawn = [
        figures.decisions(data, test, answer, run.figures),
        figures.confusion(metrics["test"], data.classes, run.figures),
        figures.expert_matrices(metrics["routing"], run.figures) if metrics["routing"] else None,
        figures.embedding_map(data, test, answer, run.figures),
        figures.curves(data, test, answer, run.figures),
        figures.training_curves(history, run.figures),
    ]
    settings = config.model
    report = Report(
        title="Acoustic run",
        subtitle=f"{NAME} ({settings.front_end}, {settings.gate}) on {facts['source']}",
        summary=verdict(results, NAME, LABELS["accuracy"]),
        results=results,
        facts={
            "parameters": metrics["parameters"]["total"],
            "recordings": facts["recordings"],
            "test recordings": metrics["test"]["recording"]["count"],
            "minutes of training": round(metrics["timing"]["model_training_seconds"] / 60, 1),
        },
        figures=tuple(figure for figure in drawn if figure is not None),
        reading=_reading(metrics["routing"]),
        tables=tuple(_tables(metrics)),
        notes=tuple(facts["notes"]),
    )
    write_report(report, run, config)


def all_scores(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Figures of model, dense twin and baselines under the names that people read."""
    twin = {"dense twin": metrics["dense_twin"]} if metrics["dense_twin"] else {}
    others = {name.replace("_", " "): found for name, found in metrics["baselines"].items()}
    return {NAME: metrics["test"], **twin, **others}


def _reading(routing: Mapping[str, Any]) -> tuple[str, ...]:
    if not routing:
        return ()
    tells = {name.replace("_", "-"): value for name, value in routing["specialisation"].items()}
    return (reading(routing["load"], tells=tells, groups=routing["by_class"]),)


def _tables(metrics: Mapping[str, Any]) -> list[Table]:
    tables = []
    recall = {
        name: {
            "recall": found["recall"],
            "95 % interval": _percent(found["interval"]),
            "recordings": found["count"],
            "area under ROC": metrics["test"]["recording"]["roc_auc"][name],
            "average precision": metrics["test"]["recording"]["average_precision"][name],
        }
        for name, found in metrics["test"]["recording"]["recall"].items()
    }
    tables.append(Table("Classes", recall, note=f"{NAME}, by recording."))
    held_out = metrics.get("held_out")
    if held_out:
        rows = {
            label.replace("_", " "): {
                "accuracy": held_out[name]["accuracy"],
                "95 % interval": _percent(held_out[name]["interval"]),
                "accuracy by segment": held_out[name]["segment_accuracy"],
            }
            for name, label in {**{n: n for n in held_out}, "model": NAME}.items()
            if isinstance(held_out.get(name), Mapping) and "accuracy" in held_out[name]
        }
        note = f"Recordings of {', '.join(held_out['sub_types'])}, of which none was in training."
        tables.append(
            Table("Unseen sub-types", rows, {"accuracy": "max"}, highlight=NAME, note=note)
        )
    routing = metrics["routing"]
    if routing:
        rows = {
            factor.replace("_", "-"): {"what the expert says of it": value}
            for factor, value in routing["specialisation"].items()
        }
        note = (
            f"Evenness of the experts' load: {routing['load_entropy']:.2f} of 1; unused experts: "
            f"{routing['dead']} of {routing['experts']}. What the expert says of a factor: mutual "
            "information over the experts' entropy."
        )
        tables.append(Table("Routing", rows, note=note))
    return tables


def _percent(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"
