"""Tables and pictures of the measured figures: docs/benchmarks.md and docs/images.

    python benchmarks/report.py
    python benchmarks/report.py --tables    # the page alone

Everything comes from the CSV files under benchmarks/results.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
NAMES = {
    ("tensorflow", "graph"): "TensorFlow graph",
    ("tensorflow", "xla"): "TensorFlow XLA",
    ("tensorflow", "torch"): "PyTorch",
    ("jax", "xla"): "JAX",
}
JOINED = ("; ", "; ", " to ", ", ")
"""Between several values of hardware, versions, dates and commits."""
STYLES = {
    "dropless": ("C0", "o", "-"),
    "capacity 1.25": ("C2", "s", "-"),
    "experts alone": ("0.3", ".", ":"),
    "dense": ("0.5", "^", "--"),
    "KerasHub Mixtral": ("C1", "v", "--"),
    "KerasHub Qwen3-MoE": ("C3", "D", "--"),
    "transformers Mixtral, grouped_mm": ("C4", "P", "--"),
    "transformers Mixtral, eager": ("C5", "X", "--"),
    "dropless (TensorFlow graph)": ("C0", "o", "-"),
}


def read(kind: str) -> pd.DataFrame | None:
    """Rows of the backends with the name of the way to run, in the order of `NAMES`; or None."""
    tables = []
    for backend in ("tensorflow", "jax"):
        path = RESULTS / f"{kind}-{backend}.csv"
        if path.exists():
            tables.append(pd.read_csv(path).assign(backend=backend))
    if not tables:
        return None
    table = pd.concat(tables).sort_values("experts", kind="stable")
    ways = [NAMES[key] for key in zip(table["backend"], table["mode"], strict=True)]
    return table.assign(run=pd.Categorical(ways, list(NAMES.values())))


def draw_layers(table: pd.DataFrame) -> None:
    table = table[(table["pass"] == "training") & (table["layer"] != "dense layer")]
    runs = [run for run in NAMES.values() if (table["run"] == run).any()]
    figure, axes = plt.subplots(
        1, len(runs), figsize=(3.6 * len(runs), 4.2), sharey=True, layout="constrained"
    )
    for axis, run in zip(axes, runs, strict=True):
        for layer, own in table[table["run"] == run].groupby("layer", sort=False):
            color, marker, line = STYLES[layer]
            axis.plot(own["experts"], own["ratio"], line, color=color, marker=marker, label=layer)
        experts = sorted(table["experts"].unique())
        axis.set(title=run, xscale="log", yscale="log", xlabel="experts")
        axis.set_xticks(experts, [str(number) for number in experts])
        axis.set_xticks([], minor=True)
        axis.set_yticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
        axis.axhline(1, color="0.8", linewidth=1, zorder=0)
        axis.legend(fontsize="small", frameon=False, loc="upper left")
    axes[0].set_ylabel("training step, times the dense layer's")
    figure.savefig(DOCS / "images" / "moe_layer_cost.png", dpi=130)


def draw_scaling(table: pd.DataFrame) -> None:
    table = table[table["layer"] == "dropless"]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for axis, name, fixed, value in (
        (axes[0], "tokens", "experts", 16),
        (axes[1], "experts", "tokens", 4096),
    ):
        own = table[table[fixed] == value].sort_values(name)
        for run, line in own.groupby("run", observed=True):
            axis.plot(line[name], line["ratio"], marker="o", label=run)
        ticks = sorted(own[name].unique())
        axis.set(title=f"{value} {fixed}", xlabel=name, xscale="log", ylim=(0, None))
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.axhline(1, color="0.8", linewidth=1, zorder=0)
    axes[0].set_ylabel("training step, times the dense layer's")
    axes[0].legend(frameon=False)
    figure.savefig(DOCS / "images" / "moe_layer_scaling.png", dpi=130)


def pivot(table: pd.DataFrame, index: list[str], column: str, value: str) -> str:
    """A markdown table with a column for each value of `column`."""
    order = table.drop_duplicates(index).set_index(index).index
    wide = table.pivot_table(index=index, columns=column, values=value, observed=True)
    wide = wide.reindex(order)
    columns = [str(name) for name in wide.columns]
    lines = [
        "| " + " | ".join([*index, *columns]) + " |",
        "|" + "---|" * len(index) + "---:|" * len(columns),
    ]
    for key, row in wide.iterrows():
        cells = ["-" if pd.isna(cell) else f"{cell:g}" for cell in row]
        keys = key if isinstance(key, tuple) else (key,)
        lines.append("| " + " | ".join([*map(str, keys), *cells]) + " |")
    return "\n".join(lines)


def layer_tables(table: pd.DataFrame) -> str:
    parts = []
    table = table.sort_values("run", kind="stable")
    for kind, title in (("training", "Training step"), ("forward", "Forward pass")):
        own = table[table["pass"] == kind]
        others = own[own["layer"] != "dense layer"]
        parts += [f"### {title}, times the dense layer's, by experts"]
        parts += [pivot(others, ["run", "layer"], "experts", "ratio")]
        parts += [f"### {title}, milliseconds, by experts"]
        parts += [pivot(own, ["run", "layer"], "experts", "milliseconds")]
    return "\n\n".join(parts)


def circumstances(*tables: pd.DataFrame) -> str:
    """The machine, versions, dates and commits of all the tables."""
    facts = pd.concat(tables).reindex(columns=["cpu", "memory", "versions", "date", "commit"])
    return "\n".join(
        "- " + "; ".join(str(fact) for fact in row if not pd.isna(fact))
        for row in facts.drop_duplicates().itertuples(index=False)
    )


def files() -> str | None:
    """A row for each file of results; None where its commit cannot be told."""
    lines = ["| file | guide | hardware | versions | date | commit |", "|---|---|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.csv")):
        table = pd.read_csv(path)
        guide = path.stem.split("_")[0]
        link = f"[{guide}]({guide}.md)" if (DOCS / f"{guide}.md").exists() else "this page"
        cpu, versions, dates, commits = (
            found(table, name) for name in ("cpu", "versions", "date", "commit")
        )
        versions = [re.sub(r" \S+ absent", "", text) for text in versions]
        if not commits or table["commit"].isna().any():
            recorded = recorded_in(path)
            if recorded is None:
                return None
            commits.append(f"recorded in {recorded}" if recorded else "not recorded")
        cells = (cpu, versions, dates[:1] + dates[1:][-1:], commits)
        texts = [separator.join(cell) or "-" for separator, cell in zip(JOINED, cells, strict=True)]
        lines.append("| " + " | ".join([f"`{path.name}`", link, *texts]) + " |")
    return "\n".join(lines)


def found(table: pd.DataFrame, column: str) -> list[str]:
    """The different values of a column that a file may lack, in order."""
    return sorted(table[column].dropna().astype(str).unique()) if column in table else []


def recorded_in(path: Path) -> str | None:
    """The commit that a file is from, empty before there is one; None without the history."""

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=RESULTS, check=True, capture_output=True)
        return done.stdout.decode().strip()

    try:
        if git("rev-parse", "--is-shallow-repository") == "true":
            return None
        if git("status", "--porcelain", "--", path.name):
            return ""
        return git("log", "-1", "--format=%h", "--abbrev=10", "--", path.name)
    except (OSError, subprocess.CalledProcessError):
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="write the page, draw nothing")
    pictures = not parser.parse_args().tables
    layers, scaling, memory = read("moe_layer"), read("scaling"), read("memory")
    measured = [table for table in (layers, scaling, memory) if table is not None]
    parts = {"machine": circumstances(*measured)}
    if (listed := files()) is not None:
        parts["files"] = listed
    if layers is not None:
        if pictures:
            draw_layers(layers)
        parts["layers"] = layer_tables(layers)
    if scaling is not None:
        if pictures:
            draw_scaling(scaling)
        own = scaling[scaling["layer"] == "dropless"]
        for name, fixed, value in (("tokens", "experts", 16), ("experts", "tokens", 4096)):
            parts[name] = pivot(own[own[fixed] == value], ["run"], name, "ratio")
    if memory is not None:
        parts["memory"] = pivot(memory, ["layer"], "run", "megabytes")
    page = DOCS / "benchmarks.md"
    text = page.read_text()
    for name, content in parts.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda match, content=content: f"{match[1]}\n{content}\n\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
    page.write_text(text)


if __name__ == "__main__":
    main()
