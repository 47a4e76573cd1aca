"""The report of a forecasting run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.forecasting import figures
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.systems import system_of
from moe_apps.pipelines.forecasting.windows import Batch, WindowedPanel
from moe_apps.pipelines.reading import MOST_GROUPS, reading
from moe_apps.pipelines.report import Better, Report, Table, verdict, write_report
from moe_apps.pipelines.run_folder import RunFolder

FloatArray = npt.NDArray[np.floating]

LEVEL = 0.05
"""What fewer of the readings with shuffled labels find is no chance."""
MOST_ROWS = 60
"""A heat map of more series than this cannot be read."""

ERRORS: dict[str, str] = {
    "mse": "MSE (scaled)",
    "mae": "MAE (scaled)",
    "mae_original": "MAE (own units)",
    "mase": "MASE",
    "smape": "sMAPE %",
}


def write_page(
    run: RunFolder,
    config: ForecastingConfig,
    data: WindowedPanel,
    answers: Mapping[str, Callable[[Batch], FloatArray]],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Draw the figures and write `report.html`."""
    system = system_of(config)
    name = system.title
    scores = _scores(metrics, name)
    rows = {
        who: {label: errors.get(key) for key, label in ERRORS.items()}
        for who, errors in scores.items()
    }
    better: dict[str, Better] = dict.fromkeys(ERRORS.values(), "min")
    facts = metrics["data"]
    note = (
        f"All {facts['windows']['test']:,} test windows, look-back {facts['look_back']}, horizon "
        f"{facts['horizon']}, seed {config.seed}. Scaled by mean and deviation of training rows."
    )
    results = Table("Test errors", rows, better, highlight=name, note=note)
    routing = metrics["routing"]
    shown = {who: answers[who] for who in ("model", "dense twin", "ridge") if who in answers}
    by_step = {
        who if who != name else "model": errors["by_step"]["mse"] for who, errors in scores.items()
    }
    drawn = [
        figures.forecasts(data, shown, run.figures),
        figures.error_by_step(by_step, run.figures),
        *(
            figures.expert_shares(routing, factor, run.figures)
            for factor in ("hour", "weekday", "season", "series")
            if 1 < len(routing.get(f"by_{factor}", ())) <= MOST_ROWS
        ),
        figures.training_curves(history, system.loss_of(config), run.figures),
    ]
    report = Report(
        title="Forecasting run",
        subtitle=f"{name} on {facts['source']}",
        summary=verdict(results, name, ERRORS["mse"]),
        results=results,
        facts={
            "parameters": metrics["parameters"]["total"],
            "active per point": metrics["parameters"]["active"],
            "test windows": facts["windows"]["test"],
            "minutes of training": round(metrics["timing"]["training_seconds"] / 60, 1),
        },
        figures=tuple(drawn),
        reading=_reading(routing),
        tables=(
            *_interval_tables(metrics, name),
            _routing_table(routing),
            *_series_tables(scores, name),
        ),
        notes=tuple(facts["notes"]),
    )
    write_report(report, run, config)


def _scores(metrics: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    twin = {"dense twin": metrics["dense_twin"]} if metrics["dense_twin"] else {}
    others = {one.replace("_", " "): errors for one, errors in metrics["baselines"].items()}
    return {name: metrics["test"], **twin, **others}


def _interval_tables(metrics: Mapping[str, Any], model: str) -> tuple[Table, ...]:
    """Coverage, width and scores of intervals, where there are any."""
    rows: dict[str, dict[str, float | None]] = {}
    for name, found in metrics.get("intervals", {}).items():
        named = {"model": model, "uncalibrated": f"{model}, uncalibrated"}
        shown = named.get(name, name.replace("_", " "))
        for level, one in found["levels"].items():
            steps = [value for value in one["by_step"]["coverage"] if value is not None]
            rows[f"{shown}, {level} %"] = {
                "coverage %": one["coverage"],
                "least covered step %": min(steps, default=None),
                "most covered step %": max(steps, default=None),
                "width": one["width"],
                "Winkler": one["winkler"],
                "CRPS": found["crps"],
            }
    note = (
        "Intervals from each series' own errors on the windows that ended before, scaled; "
        "uncalibrated: from the model's own quantiles alone. Coverage: share of test targets "
        "inside."
    )
    return (Table("Prediction intervals", rows, note=note),) if rows else ()


def _reading(routing: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence or two a layer; who leads, by the factor of few groups that it knows best."""
    said = []
    for layer, load in enumerate(routing["load"]):
        tells = {factor: values[layer] for factor, values in routing["specialisation"].items()}
        control = routing.get("control", {})
        chance = {factor: one["p_value"][layer] > LEVEL for factor, one in control.items()}
        known = [f for f in tells if not chance.get(f) and len(routing[f"by_{f}"]) <= MOST_GROUPS]
        best = max(known, key=tells.__getitem__, default=None)
        groups = {name: shares[layer] for name, shares in routing.get(f"by_{best}", {}).items()}
        where = f"Layer {layer}" if len(routing["load"]) > 1 else ""
        said.append(reading(load, tells=tells, by_chance=chance, groups=groups, where=where))
    return tuple(said)


def _routing_table(routing: Mapping[str, Any]) -> Table:
    """Load and specialisation, a row a layer."""
    rows: dict[str, dict[str, float]] = {}
    for layer, load in enumerate(routing["load"]):
        rows[f"layer {layer}"] = {
            "busiest expert": max(load),
            "idlest expert": min(load),
            "evenness": routing["load_entropy"][layer],
            **{
                f"knows {factor}": values[layer]
                for factor, values in routing["specialisation"].items()
            },
            **{
                f"p, {factor}": one["p_value"][layer]
                for factor, one in routing.get("control", {}).items()
            },
        }
    note = (
        "Load: share of (point, choice) pairs. Evenness: entropy of the load over its maximum. "
        "Knows ...: mutual information of expert and factor over the experts' entropy, 0 to 1. "
        "P: share of 199 readings with shuffled labels that find as much, itself counted."
    )
    return Table("Routing on the test part", rows, note=note)


def _series_tables(scores: Mapping[str, Mapping[str, Any]], model: str) -> tuple[Table, ...]:
    """Scaled MSE by series, where there are several (at most 30 are listed)."""
    names = list(scores[model]["by_series"])
    if len(names) < 2:
        return ()
    rows = {
        name: {system: errors["by_series"][name]["mse"] for system, errors in scores.items()}
        for name in names[:30]
    }
    note = f"The first 30 of {len(names)} series." if len(names) > 30 else ""
    return (Table("MSE (scaled) by series", rows, note=note),)
