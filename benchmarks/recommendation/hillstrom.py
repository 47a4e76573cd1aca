"""Hillstrom's e-mail data: MTMT beside a T-learner and a random order, by Qini.

    python benchmarks/recommendation/hillstrom.py hillstrom.csv.gz

Outcome `visit`; each e-mail against none. Random split 60/10/30, another one for each seed, which
is also the seed of the network. Qini is the area between gain curve and chord, divided by the
number of treated test rows. Settings of `configs/recommendation/hillstrom.yaml`. Results go to
benchmarks/results/recommendation_hillstrom.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from trials import RESULTS, keep, settings, show, trial

from moe_apps.pipelines.recommendation.data import prepare
from moe_apps.pipelines.recommendation.fitting import inputs_of
from moe_apps.pipelines.recommendation.judgement import judge_uplift
from moe_apps.pipelines.recommendation.systems import effect_function
from moe_apps.pipelines.recommendation.uplift_baselines import uplift_effects

TASK = "visit"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--set", nargs="*", default=[], help="settings over those of the file")
    parser.add_argument(
        "--validation", action="store_true", help="judge validation rows, keep none"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "recommendation_hillstrom.csv")
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        config = settings("hillstrom.yaml", "mtmt", seed, args.set)
        data = prepare(config, args.data)
        judged = data.validation if args.validation else data.test
        arm, treatments = data.preprocessing.treatment(judged), data.preprocessing.treatments
        model, trained = trial(config, data)
        inputs = inputs_of(model, data.arrays(judged)[0])
        effects = {
            "mtmt": effect_function(model)(inputs),
            **uplift_effects(data.train, judged, data.schema, treatments, seed=seed, boosting=True),
        }
        for name, of_task in effects.items():
            figures = judge_uplift(judged, arm, treatments, {TASK: np.asarray(of_task[TASK])})
            for treatment, row in figures[TASK].items():
                own = trained if name == "mtmt" else {"seed": seed}
                rows.append({**own, "system": name, "treatment": treatment, **row})
    if args.validation:
        print(
            *(f"{r['system']} {r['treatment']} {r['seed']} {r['qini']:.4f}" for r in rows), sep="\n"
        )
        return
    table = keep(rows, args.output, ["system", "treatment", "seed"])
    show(table, ["treatment", "system"], ["qini", "auuc", "effect", "seconds"])


if __name__ == "__main__":
    main()
