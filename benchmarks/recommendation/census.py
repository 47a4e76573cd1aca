"""Census-Income (KDD): income and never-married by several systems and seeds.

    python benchmarks/recommendation/census.py census-income.test.gz

Random split 50/25/25 (the split's seed is 0 throughout), settings of
`configs/recommendation/census.yaml`. Results go to benchmarks/results/recommendation_census.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trials import RESULTS, baseline_rows, judged, keep, settings, show, trial

from moe_apps.pipelines.recommendation.data import prepare

SYSTEMS = ("shared_bottom", "mmoe", "ple", "home")
OWN = {
    "shared_bottom": ["model.units=[160,32]"],
    "mmoe": [],
    "ple": ["model.specific=2", "model.shared=4"],
    "home": ["model.num_experts=2"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--systems", nargs="*", default=SYSTEMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], help="settings over those of the file")
    parser.add_argument("--baselines", action="store_true", help="fit the classical ones too")
    parser.add_argument("--validation-only", action="store_true", help="do not look at the test")
    parser.add_argument("--output", type=Path, default=RESULTS / "recommendation_census.csv")
    args = parser.parse_args()
    data = prepare(settings("census.yaml", "mmoe", 0), args.data)
    rows = []
    if args.baselines:
        rows = baseline_rows(data)
        keep(rows, args.output, ["system", "seed"])
    for name in args.systems:
        for seed in args.seeds:
            config = settings("census.yaml", name, seed, [*OWN[name], *args.set])
            model, row = trial(config, data)
            if not args.validation_only:
                row |= judged(model, data)
            print(row, flush=True)
            rows.append(row)
            if not args.validation_only:
                keep([row], args.output, ["system", "seed"])
    if not args.validation_only:
        table = keep(rows, args.output, ["system", "seed"])
        show(table, ["system"], ["income_auc", "never_married_auc", "income_log_loss", "seconds"])


if __name__ == "__main__":
    main()
