"""The report of a deraining run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moe_apps.pipelines.deraining import figures
from moe_apps.pipelines.deraining.config import DerainingConfig
from moe_apps.pipelines.deraining.examples import Examples, Image
from moe_apps.pipelines.deraining.restoration import ImageRestorer
from moe_apps.pipelines.deraining.routing import expert_names, layer_names
from moe_apps.pipelines.reading import reading
from moe_apps.pipelines.report import Better, Report, Table, verdict, write_report
from moe_apps.pipelines.run_folder import RunFolder

TITLES = {"drsformer": "DRSformer", "mofme": "MoFME"}
NAMES = {"dense_twin": "dense twin", "u_net": "U-Net"}
SCORES = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "gain": "gain over input, dB",
    "worst_gain": "worst image, dB",
}


def write_page(
    run: RunFolder,
    config: DerainingConfig,
    data: Examples,
    systems: Mapping[str, Callable[[Image], Image]],
    restorer: ImageRestorer,
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Draw the figures and write `report.html`."""
    ours = TITLES[config.model.name]
    scores = _scores(metrics, ours)
    rows = {
        name: {label: values.get(key) for key, label in SCORES.items()}
        for name, values in scores.items()
    }
    better: dict[str, Better] = dict.fromkeys(SCORES.values(), "max")
    facts, routing = metrics["data"], metrics["routing"]
    note = (
        f"{facts['test_pairs']} test images, seed {config.seed}. Protocol {facts['protocol']}: "
        f"{facts['protocol_is']}."
    )
    results = Table("Test results", rows, better, highlight=ours, note=note)
    by_system = {name if name != ours else "model": values for name, values in scores.items()}
    drawn = [
        figures.comparison(data.test, systems["model"], ours, metrics["test"], run.figures),
        figures.gain_by_weather(by_system, run.figures),
        *_expert_figures(run, config, routing),
        figures.maps(data.test, restorer.explain, run.figures),
        figures.training_curves(history, run.figures),
    ]
    report = Report(
        title="Deraining run",
        subtitle=f"{ours} ({config.model.preset}) on {facts['source']}",
        summary=verdict(results, ours, SCORES["psnr"]),
        results=results,
        facts={
            "parameters": metrics["parameters"]["total"],
            "test images": facts["test_pairs"],
            "minutes of training": round(metrics["timing"]["training_seconds"] / 60, 1),
            "seconds a megapixel": metrics["timing"]["test_seconds_per_megapixel"],
        },
        figures=tuple(figure for figure in drawn if figure is not None),
        reading=_reading(routing, config),
        tables=(*_group_tables(scores), *_routing_tables(routing, config)),
        notes=tuple(facts["notes"]),
    )
    write_report(report, run, config)


def _scores(metrics: Mapping[str, Any], ours: str) -> dict[str, Mapping[str, Any]]:
    twin = {"dense twin": metrics["dense_twin"]} if metrics["dense_twin"] else {}
    others = {NAMES.get(name, name): values for name, values in metrics["baselines"].items()}
    return {ours: metrics["test"], **twin, **others}


def _expert_figures(
    run: RunFolder, config: DerainingConfig, routing: Mapping[str, Any]
) -> list[figures.Figure]:
    if not routing:
        return []
    layers, experts = layer_names(routing, config), expert_names(routing, config)
    return [
        figures.expert_use(routing, factor, layers, experts, run.figures)
        for factor in ("kind", "level", "group")
        if 1 < len(routing.get(f"by_{factor}", ())) <= 8
    ]


def _group_tables(scores: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """PSNR of every system by kind and level of weather, and by group."""
    first = next(iter(scores.values()))
    tables = []
    for key, title in (
        ("by_kind_and_level", "PSNR by kind and level, dB"),
        ("by_group", "PSNR by group, dB"),
    ):
        if len(first.get(key, ())) > 1:
            rows = {
                group: {name: values[key][group]["psnr"] for name, values in scores.items()}
                for group in first[key]
            }
            tables.append(Table(title, rows))
    return tables


def _reading(routing: Mapping[str, Any], config: DerainingConfig) -> tuple[str, ...]:
    """A sentence or two a layer."""
    if not routing:
        return ()
    experts, by_kind = expert_names(routing, config), routing.get("by_kind", {})
    return tuple(
        reading(
            load,
            names=experts,
            tells={name: values[layer] for name, values in routing["specialisation"].items()},
            groups={kind: shares[layer] for kind, shares in by_kind.items()},
            where=layer_name.capitalize(),
            explained=True,
        )
        for layer, (layer_name, load) in enumerate(
            zip(layer_names(routing, config), routing["load"], strict=True)
        )
    )


def _routing_tables(routing: Mapping[str, Any], config: DerainingConfig) -> list[Table]:
    if not routing:
        return []
    names, experts = layer_names(routing, config), expert_names(routing, config)
    rows: dict[str, dict[str, Any]] = {}
    for layer, (name, load) in enumerate(zip(names, routing["load"], strict=True)):
        rows[name] = {
            "busiest": experts[load.index(max(load))],
            "its weight": max(load),
            "evenness": routing["load_entropy"][layer],
            **{
                f"explained by {factor}": values[layer]
                for factor, values in routing["specialisation"].items()
            },
        }
    note = (
        "Evenness: entropy of the mean weights over its maximum. Explained by ...: share of the "
        "variance of the weights between images; chance gives about groups / images."
    )
    tables = [Table("Routing on the test part", rows, note=note)]
    for factor in ("kind", "level", "group"):
        if values := routing.get(f"uncertainty_by_{factor}"):
            unsure = {name: {"variance of logits": value} for name, value in values.items()}
            tables.append(Table(f"Uncertainty of the router by {factor}", unsure))
    return tables
