"""MovieLens-100K: liking a film (rating >= 4), and ranking films for users.

    python benchmarks/recommendation/movielens.py FOLDER

FOLDER has ml-100k.inter, ml-100k.item and ml-100k.user as RecBole writes them (they may not be
redistributed, so they are not in the repository). Three studies:

- clicks: AUC, GAUC and log loss with the last tenth of each user's rows for test, AW-MoE with
  and without its contrastive loss, also over the least active quarter of users;
- ranking: the last row of each user among 99 films at random, and among all;
- domains: AdaptDHM, one shared network, and one network for each age group.

Results go to benchmarks/results/recommendation_movielens*.csv.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from trials import RESULTS, baseline_rows, figures, judged, keep, settings, show, trial

from moe_apps.pipelines.recommendation.data import prepare
from moe_apps.pipelines.recommendation.fitting import answers_function
from moe_apps.pipelines.recommendation.prepared import Prepared
from moe_apps.pipelines.recommendation.ranking import judge_ranking

FILE = "movielens.yaml"
CLICKS = {
    "shared_bottom": ["model.name=shared_bottom", "model.units=[64,32]"],
    "mmoe": ["model.name=mmoe"],
    "aw_moe": ["model.name=aw_moe", "model.behaviour=[history]"],
    "aw_moe without contrast": [
        "model.name=aw_moe",
        "model.behaviour=[history]",
        "model.contrastive_weight=0",
    ],
}
AGES = ((0, 24, "under 25"), (25, 34, "25-34"), (35, 200, "35 and over"))


def joined(folder: Path) -> pd.DataFrame:
    """One row a rating, with the user's and the film's columns."""

    def table(kind: str) -> pd.DataFrame:
        frame = pd.read_csv(folder / f"ml-100k.{kind}", sep="\t", dtype=str, encoding="utf-8")
        return frame.rename(columns=lambda name: name.partition(":")[0])

    users, films = table("user"), table("item")
    users["age"] = users["age"].astype(int)
    users["age_group"] = ""
    for low, high, name in AGES:
        users.loc[users["age"].between(low, high), "age_group"] = name
    users["zip_area"] = users["zip_code"].str[:2]
    films["year"] = pd.to_numeric(films["release_year"], errors="coerce")
    films["genres"] = films["class"].fillna("")
    films["genre"] = films["genres"].str.split().str[0].fillna("")
    rows = table("inter").astype({"rating": float, "timestamp": float})
    rows = rows.merge(users, on="user_id", validate="m:1").merge(
        films[["item_id", "year", "genre", "genres"]], on="item_id", validate="m:1"
    )
    return rows.drop(columns=["zip_code"])


def quarter(data: Prepared) -> np.ndarray:
    """Test rows of the quarter of users with the fewest training rows."""
    counts = pd.Series(data.train.user.raw()).value_counts()
    users = pd.Series(data.test.user.raw())
    each = users.map(counts).fillna(0).to_numpy()
    people = pd.Series(each, index=users.to_numpy()).groupby(level=0).first()
    return each <= people.quantile(0.25)


def clicks(path: Path, args: argparse.Namespace) -> None:
    output = RESULTS / "recommendation_movielens.csv"
    key = ["system", "seed"]
    data = prepare(settings(FILE, "mmoe", 0), path)
    few = quarter(data)
    if args.baselines:
        keep(baseline_rows(data), output, key)
    for name in args.systems or CLICKS:
        for seed in args.seeds:
            own = CLICKS.get(name, [f"model.name={name}"])
            config = settings(FILE, "mmoe", seed, [*own, *args.set])
            model, row = trial(config, data)
            row["system"] = name
            if not args.validation_only:
                answers = answers_function(model, data, 4096)(data.test)
                row |= figures(data, answers)
                part = {task: values[few] for task, values in answers.items()}
                least = figures(data, part, data.test.take(few))
                row |= {f"least_active_{key}": value for key, value in least.items()}
                row["least_active_rows"] = int(few.sum())
                keep([row], output, key)
            print(row, flush=True)
    if not args.validation_only:
        columns = ["liked_auc", "liked_gauc", "liked_log_loss", "least_active_liked_auc"]
        show(pd.read_csv(output), ["system"], columns)


def ranking(path: Path, args: argparse.Namespace) -> None:
    output = RESULTS / "recommendation_movielens_ranking.csv"
    for name in args.systems or ("mmoe",):
        for seed in args.seeds:
            own = [*CLICKS.get(name, [f"model.name={name}"]), "data.split=leave_last_out"]
            config = settings(FILE, "mmoe", seed, [*own, *args.set])
            data = prepare(config, path)
            model, row = trial(config, data)
            rows = []
            for protocol in ("sampled", "full"):
                scores: dict[str, Any] = {}
                over = {"evaluation": config.evaluation.model_copy(update={"ranking": protocol})}
                judge_ranking(config.model_copy(update=over), data, {name: model}, scores)
                for system, found in scores.items():
                    shown = {k: v for k, v in found["ranking"].items() if k != "protocol"}
                    shown = {"system": system, "seed": seed, "candidates": protocol, **shown}
                    rows.append({**row, **shown} if system == name else shown)
                    print(shown, flush=True)
            keep(rows, output, ["system", "seed", "candidates"])


def domains(path: Path, args: argparse.Namespace) -> None:
    """AdaptDHM beside one network for all, and one a domain; all have the same layers."""
    output = RESULTS / "recommendation_movielens_domains.csv"
    data = prepare(settings(FILE, "mmoe", 0), path)
    own = {
        "adapt_dhm": ["model.name=adapt_dhm", "model.units=[64,32]", "model.num_clusters=3"],
        "shared network": ["model.name=shared_bottom", "model.units=[64,32]"],
    }
    groups = {part: getattr(data, part).domain.raw() for part in ("train", "validation", "test")}
    for seed in args.seeds:
        for name, overrides in own.items():
            model, row = trial(settings(FILE, "mmoe", seed, [*overrides, *args.set]), data)
            answers = answers_function(model, data, 4096)(data.test)
            row |= {"system": name, **figures(data, answers)}
            for group in np.unique(groups["test"]):
                inside = groups["test"] == group
                part = figures(data, {"liked": answers["liked"][inside]}, data.test.take(inside))
                row[f"auc {group}"] = part["liked_auc"]
            keep([row], output, ["system", "seed"])
            print(row, flush=True)
        answers = np.full(len(data.test), np.nan)
        total: dict[str, Any] = {"system": "network a domain", "seed": seed, "seconds": 0.0}
        for group in np.unique(groups["test"]):
            parts = {
                part: getattr(data, part).take(groups[part] == group)
                for part in ("train", "validation", "test")
            }
            of_group = Prepared(**{**vars(data), **parts, "rows": len(parts["train"])})
            overrides = own["shared network"]
            model, row = trial(settings(FILE, "mmoe", seed, [*overrides, *args.set]), of_group)
            found = answers_function(model, of_group, 4096)(parts["test"])["liked"]
            answers[groups["test"] == group] = found
            total[f"auc {group}"] = judged(model, of_group)["liked_auc"]
            total["seconds"] += row["seconds"]
            total["parameters"] = total.get("parameters", 0) + row["parameters"]
        total |= figures(data, {"liked": answers})
        keep([total], output, ["system", "seed"])
        print(total, flush=True)
    show(pd.read_csv(output), ["system"], ["liked_auc", "liked_gauc", "liked_log_loss", "seconds"])


STUDIES = {"clicks": clicks, "ranking": ranking, "domains": domains}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--systems", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], help="settings over those of the file")
    parser.add_argument("--baselines", action="store_true", help="fit the classical ones too")
    parser.add_argument("--validation-only", action="store_true", help="do not look at the test")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "movielens.parquet")
        joined(args.folder).to_parquet(path, index=False)
        for study in args.studies:
            STUDIES[study](path, args)


if __name__ == "__main__":
    main()
