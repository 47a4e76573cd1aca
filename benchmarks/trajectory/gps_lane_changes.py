"""Real lane changes, annotated by a person: intention from GPS alone, before the annotated moment.

    python benchmarks/trajectory/gps_lane_changes.py ../shared/data/trajectory --seeds 0 1 2

Two drives on motorways, each recorded by two receivers at 1 Hz (58 and 76 lane changes). A model
is trained on one drive and judged on the whole of the other, and the reverse, for each receiver:
TMMOE from the simulator (zero-shot), the same fine-tuned on the training drive, TMMOE trained on
that drive alone, and a threshold on how far the vehicle has moved aside. The threshold, and for the
networks the weight of keeping the lane, are those of the best macro F1 on the training drive. None
is told the lane, or where other vehicles are. Rows of other seeds that the result file has already
are kept.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from fine_tuning import Trainer, alone
from seeds import WITHOUT_SEED, put
from sklearn.metrics import f1_score

from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.batches import balanced_rows
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.data import windowed_data
from moe_apps.pipelines.trajectory.gps_trips import read_trip
from moe_apps.pipelines.trajectory.labels import KEEP, crossings
from moe_apps.pipelines.trajectory.metrics import balanced, score
from moe_apps.pipelines.trajectory.tracks import vehicles
from moe_apps.pipelines.trajectory.windows import WindowCutter, Windows

RESULTS = Path(__file__).parents[1] / "results" / "trajectory_gps_lane_changes.csv"
RECEIVERS = ("globalsat", "s9")
TRIPS = (1, 2)
SETTINGS: dict[str, Any] = {
    "data": {
        "rate": 1,
        "history": 7,
        "horizon": 3,
        "velocity_seconds": 2,
        "intention_window": 4,
        # Errors as wide as the drives' own steps aside from fix to fix while they keep a lane
        # (0.22 to 0.33 m, from the median of their amounts).
        "simulator": {"noise": 0.07, "drift": 0.4, "seconds": 160},
    },
    "model": {"preset": "tiny", "channels": 32, "dropout": 0.2, "experts": "dense"},
    "train": {"epochs": 10, "steps_per_epoch": 120},
    "evaluation": {"near_crossing": 2, "stride": 1},
}
FINE_TUNING = {"epochs": 12, "steps_per_epoch": 20, "batch_size": 64, "learning_rate": 5e-4}
FROM_NOTHING = FINE_TUNING | {"learning_rate": 2e-3}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", type=Path, help="folder with the drives")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments.add_argument("--output", type=Path, default=RESULTS)
    given = arguments.parse_args()
    drives = {key: Drive(given.data, *key) for key in product(TRIPS, RECEIVERS)}
    rows = []
    for trip, receiver in product(TRIPS, RECEIVERS):
        other = drives[3 - trip, receiver]
        place = {"trained_on": trip, "judged_on": 3 - trip, "receiver": receiver}
        threshold = Threshold.tuned(drives[trip, receiver].judged)
        row = judged(threshold(other.judged), other.judged, "threshold", WITHOUT_SEED)
        rows.append(place | row | {"tuned": str(threshold)})
    moves = [
        {"trip": trip, "receiver": receiver} | row
        for (trip, receiver), drive in drives.items()
        for row in moved_aside(drive)
    ]
    name = given.output.name.replace("lane_changes", "moved_aside")
    pd.DataFrame(moves).to_csv(given.output.with_name(name), index=False)
    order = ("trained_on", "receiver", "system", "seed")
    table = put(rows, given.output, order)
    for seed in given.seeds:
        table = put(networks(drives, seed), given.output, order)
    numbers = table.select_dtypes("number").columns.drop(["seed", "trained_on", "judged_on"])
    print(table.groupby("system")[list(numbers)].mean().round(3).T.to_string())


class Drive:
    """One receiver's record of a drive, as windows that know nothing but its fixes."""

    def __init__(self, folder: Path, trip: int, receiver: str) -> None:
        tracks = read_trip(
            folder / f"gps_lanechange_trip{trip}_{receiver}.csv",
            folder / f"gps_lanechange_trip{trip}_annotations.csv",
        )
        self.config = TrajectoryConfig.model_validate(SETTINGS)
        self.cutter = WindowCutter(tracks, self.config.data)
        self.rows = self.cutter.rows()
        self.stretch = vehicles(tracks.table)
        self.crossing = crossings(tracks)
        windows = alone(self.cutter.cut(self.rows))
        self.judged = windows.take(np.flatnonzero(windows.judged))

    def parts(self, seed: int) -> tuple[Windows, Windows]:
        """Windows for training, balanced, and for the choice of the epoch: other stretches."""
        stretches = np.unique(self.stretch[self.rows])
        order = np.random.default_rng(seed).permutation(stretches)
        chosen = np.isin(self.stretch[self.rows], order[: len(order) // 4])
        training = balanced_rows(self.cutter, self.rows[~chosen], 0.6, 100_000, seed)
        return alone(self.cutter.cut(training)), alone(self.cutter.cut(self.rows[chosen]))


def moved_aside(drive: Drive) -> list[dict[str, Any]]:
    """How far a vehicle has moved aside, in the median of the changes, from 8 s before on.

    Fix 0 is the first in the new lane, so 0 to 1 s after the annotated moment. `keeping` is the
    spread of the same move where the lane is kept: 1.48 times the median of its amount.
    """
    cutter, rows = drive.cutter, []
    y = cutter.position[:, 1]
    at = np.flatnonzero(drive.crossing)
    kept = np.flatnonzero(cutter.intention == KEEP)
    for step in range(-7, 5):
        there = at[(at - 8 >= cutter.first[cutter.piece[at]]) & (at + step <= len(y) - 1)]
        there = there[cutter.piece[there] == cutter.piece[there + step]]
        move = (y[there + step] - y[there - 8]) * drive.crossing[there]
        back = kept[kept - (step + 8) >= cutter.first[cutter.piece[kept]]]
        wander = np.abs(y[back] - y[back - step - 8])
        rows.append(
            {
                "fix": step,
                "median_move": float(np.median(move)),
                "keeping": float(1.4826 * np.median(wander)),
                "changes": len(there),
            }
        )
    return rows


class Threshold:
    """Says left or right once a vehicle has moved aside by more than `metres`.

    Measured from where it was `steps` fixes ago, or from the median of the history (`steps` 0).
    """

    def __init__(self, steps: int, metres: float) -> None:
        self.steps, self.metres = steps, metres

    def __str__(self) -> str:
        return f"{self.metres:.1f} m from {f'{self.steps} s ago' if self.steps else 'the median'}"

    def __call__(self, windows: Windows) -> Answer:
        y = windows.inputs["ego"][..., 1].astype(float)
        from_here = y[:, -1 - self.steps] if self.steps else np.median(y, axis=1)
        aside = (y[:, -1] - from_here) / self.metres
        far = 1 + np.abs(aside)
        # More than 2 beyond the threshold, and ever more without running into 1.
        left = np.where(aside > 0, far, 1 / far)
        odds = np.stack([np.full_like(far, 2), left, 1 / left], axis=1)
        return Answer(probability=odds / odds.sum(axis=1, keepdims=True))

    @classmethod
    def tuned(cls, windows: Windows) -> Threshold:
        """The one of the best macro F1, over balanced windows."""
        part = windows.take(balanced(windows.intention, TrajectoryConfig().seed))
        candidates = [cls(s, m) for s in range(8) for m in np.arange(0.1, 3.01, 0.1)]
        return max(candidates, key=lambda one: macro_f1(one(part), part))


def macro_f1(answer: Answer, windows: Windows) -> float:
    assert answer.probability is not None
    return f1_score(windows.intention, answer.probability.argmax(axis=1), average="macro")


def weighed(answer: Answer, keep: float) -> Answer:
    """The answer with the odds of keeping the lane times `keep`."""
    assert answer.probability is not None
    odds = answer.probability * [keep, 1.0, 1.0]
    return Answer(probability=odds / odds.sum(axis=1, keepdims=True))


def keep_weight(answer: Answer, windows: Windows) -> float:
    """The weight of keeping with the best macro F1, over balanced windows."""
    even = balanced(windows.intention, TrajectoryConfig().seed)
    part, of_part = windows.take(even), answer.take(even)
    return max(np.geomspace(0.05, 2, 40), key=lambda keep: macro_f1(weighed(of_part, keep), part))


def score_of(answer: Answer, windows: Windows, config: TrajectoryConfig) -> dict[str, Any]:
    return score(Answer(probability=answer.probability), windows, config)


def networks(drives: dict[tuple[int, str], Drive], seed: int) -> list[dict[str, Any]]:
    """How the networks of a seed do on the drive that they were not trained on."""
    config, tuning, alone_tuning = (
        TrajectoryConfig.model_validate({**SETTINGS, "train": settings, "seed": seed})
        for settings in (SETTINGS["train"], FINE_TUNING, FROM_NOTHING)
    )
    simulated = windowed_data(config)
    start = Trainer(config, what_is_lacking)
    weights = start(alone(simulated.train), alone(simulated.validation)).get_weights()
    fine_tuned = Trainer(tuning, what_is_lacking)
    from_nothing = Trainer(alone_tuning, what_is_lacking)
    rows = []
    for (trip, receiver), drive in drives.items():
        other = drives[3 - trip, receiver].judged
        place = {"trained_on": trip, "judged_on": 3 - trip, "receiver": receiver}
        train, validation = drive.parts(seed)
        fine_tuned(train, validation, weights)
        from_nothing(train, validation)
        for system, trainer in (
            ("zero-shot", start),
            ("fine-tuned", fine_tuned),
            ("from the drive alone", from_nothing),
        ):
            # As the threshold is: so weighed that the training drive's macro F1 is the best.
            weight = keep_weight(trainer.answer(drive.judged), drive.judged)
            answer = weighed(trainer.answer(other), weight)
            rows.append(place | judged(answer, other, system, seed) | {"tuned": f"{weight:g}"})
    return rows


def what_is_lacking(answer: Answer, windows: Windows) -> float:
    """What the macro F1 over balanced windows lacks of 1."""
    found = score_of(answer, windows, TrajectoryConfig.model_validate(SETTINGS))["macro_f1"]
    return 1.0 if found is None else 1 - found


def judged(answer: Answer, windows: Windows, system: str, seed: int) -> dict[str, Any]:
    """Macro F1 over balanced and over all windows, and how early changes are seen."""
    config = TrajectoryConfig.model_validate(SETTINGS)
    found = score_of(answer, windows, config)["intention"]
    row: dict[str, Any] = {
        "system": system,
        "seed": seed,
        "macro_f1": found["macro_f1"],
        "macro_f1_natural": found["natural"]["macro_f1"],
        "mean_auc": float(np.mean(list(found["auc"].values()))),
    }
    early = anticipated(answer.probability, windows)
    windows_of = {name: int((windows.intention == label).sum()) for label, name in
                  enumerate(("keep", "left", "right"))}  # fmt: skip
    return row | early | {f"windows_{name}": count for name, count in windows_of.items()}


def anticipated(probability: npt.NDArray[Any] | None, windows: Windows) -> dict[str, float]:
    """Share of lane changes seen, to the right side, so long before the annotated moment.

    A window sees a change to a side if its probability exceeds the threshold that 5 % of the
    windows that keep exceed. At 1 Hz the fix `k` steps before the first one in the new lane lies
    between k - 1 and k seconds before the annotated moment.
    """
    assert probability is not None
    change = 1 - probability[:, KEEP]
    threshold = np.quantile(change[windows.intention == KEEP], 0.95)
    side = probability[:, 1:].argmax(axis=1) + 1
    seen = (change > threshold) & (side == windows.intention)
    found = {}
    for step in (1, 2, 3, 4):
        at = (windows.intention > KEEP) & (windows.to_crossing.round() == step)
        found[f"seen_{step - 1}_to_{step}_s"] = float(seen[at].mean())
        if step == 1:
            found["lane_changes"] = int(at.sum())
    return found


if __name__ == "__main__":
    main()
