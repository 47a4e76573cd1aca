"""The kinds of gates side by side, on the built-in traffic: a row a gate and seed.

    python benchmarks/trajectory/gates.py                      # all, about a quarter of an hour
    python benchmarks/trajectory/gates.py --gates ple --seeds 2

The tracks, their split and the windows are the same for all (seed 0); the seed is that of the
weights, the dropout and the order of training. Rows that are in the file already are replaced.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from circumstances import circumstances
from result_rows import put_rows

from moe_apps.pipelines.training import fit, set_seed
from moe_apps.pipelines.trajectory.answers import answering
from moe_apps.pipelines.trajectory.batches import training_batches
from moe_apps.pipelines.trajectory.building import build_model, compile_trajectory
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.data import TrajectoryData, windowed_data
from moe_apps.pipelines.trajectory.metrics import score

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "trajectory_gates.csv"
GATES = ("mmoe", "cgc", "ple", "omoe", "shared_bottom")
EPOCHS, STEPS = 8, 120


def configuration(gate: str, seed: int) -> TrajectoryConfig:
    """Settings of one row; shared_bottom is the dense twin of mmoe."""
    return TrajectoryConfig.model_validate(
        {
            "seed": seed,
            "model": {"gate": "mmoe" if gate == "shared_bottom" else gate},
            "train": {"epochs": EPOCHS, "steps_per_epoch": STEPS},
        }
    )


def measured(gate: str, seed: int, data: TrajectoryData) -> dict[str, object]:
    config = configuration(gate, seed)
    kind = "dense_twin" if gate == "shared_bottom" else "model"
    set_seed(seed)
    model = build_model(config, kind, data.train)
    settings = config.train
    batches = training_batches(data.train, settings.batch_size, seed, settings.steps_per_epoch)
    compile_trajectory(model, config, batches.batches_per_epoch)
    answer = answering(model, config.evaluation.batch_size)

    def validate() -> dict[str, float]:
        found = score(answer(data.validation), data.validation, config)
        return {"val_score": found["final_rmse"] / 5 + 1 - found["macro_f1"]}

    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            model,
            batches,
            settings,
            checkpoint=Path(folder, "checkpoint"),
            history_file=Path(folder, "history.csv"),
            validate=validate,
            monitor="val_score",
            title=f"{gate}, seed {seed}",
        )
    # The windows that count are drawn by the seed of the data, the same for all rows.
    test = score(answer(data.test), data.test, configuration(gate, 0))
    return {
        "gate": gate,
        "seed": seed,
        "parameters": model.count_params(),
        "final_rmse": test["final_rmse"],
        "ade": test["ade"],
        "macro_f1": test["macro_f1"],
        "macro_f1_near": test["macro_f1_near"],
        "nll": test["nll"],
        "step_ms": 1000 * result.step_seconds,
        "epochs": EPOCHS,
        "steps_per_epoch": STEPS,
        "test_windows": len(data.test),
        **circumstances(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gates", nargs="+", choices=GATES, default=GATES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    data = windowed_data(configuration("mmoe", 0))
    for seed in arguments.seeds:
        for gate in arguments.gates:
            row = measured(gate, seed, data)
            print({name: row[name] for name in ("gate", "seed", "final_rmse", "macro_f1")})
            put_rows(arguments.output, [row], ["gate", "seed"])


if __name__ == "__main__":
    main()
