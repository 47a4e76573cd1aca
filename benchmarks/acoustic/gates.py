"""The gates of CMoE side by side on made ship noise: a row a gate and seed.

    python benchmarks/acoustic/gates.py                # all, some 25 CPU minutes
    python benchmarks/acoustic/gates.py --gates switch hard --seeds 0

`released` is what the released code has: gate hard with sigmoid scores. `dense` is the dense twin.
Recordings and their split are the same for all (seed 0); the seed is that of the weights, the
dropout and the order of training. Rows that are in the file already are replaced.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
from circumstances import circumstances
from result_rows import put_rows

from moe_apps.pipelines.acoustic.answers import answering
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.data import AcousticData, acoustic_data
from moe_apps.pipelines.acoustic.metrics import score
from moe_apps.pipelines.acoustic.routing import routing_summary
from moe_apps.pipelines.acoustic.splits import TEST
from moe_apps.pipelines.acoustic.training import built, train_network

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "acoustic_gates.csv"
GATES = ("switch", "hard", "soft", "straight_through", "released", "dense")


def configuration(gate: str, seed: int) -> AcousticConfig:
    """Settings of one row."""
    model = {"gate": {"released": "hard", "dense": "switch"}.get(gate, gate)}
    if gate == "released":
        model["activation"] = "sigmoid"
    return AcousticConfig.model_validate({"seed": seed, "model": model})


def measured(gate: str, seed: int, data: AcousticData) -> dict[str, object]:
    config = configuration(gate, seed)
    kind = "dense_twin" if gate == "dense" else "model"
    model = built(config, kind, data)
    with tempfile.TemporaryDirectory() as folder:
        result = train_network(
            model,
            kind,
            config,
            data,
            checkpoint=Path(folder, "checkpoint"),
            history_file=Path(folder, "history.csv"),
        )
    test = data.of(TEST)
    answer = answering(model, config.evaluation.batch_size)(test)
    found = score(answer, test, data.classes)
    routing = routing_summary(answer, test, data.recordings, data.classes)
    return {
        "gate": gate,
        "seed": seed,
        "parameters": model.count_params(),
        **{name: found[name] for name in ("accuracy", "macro_f1", "ece", "segment_accuracy")},
        "load_entropy": routing.get("load_entropy"),
        "dead": routing.get("dead"),
        "knows_class": routing.get("specialisation", {}).get("class"),
        "knows_sub_type": routing.get("specialisation", {}).get("sub_type"),
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "test_recordings": found["recording"]["count"],
        **circumstances(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gates", nargs="+", choices=GATES, default=GATES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    data = acoustic_data(configuration("switch", 0))
    for seed in arguments.seeds:
        for gate in arguments.gates:
            row = measured(gate, seed, data)
            print({name: row[name] for name in ("gate", "seed", "accuracy", "segment_accuracy")})
            put_rows(arguments.output, [row], ["gate", "seed"])
    columns = ["accuracy", "segment_accuracy", "knows_class"]
    print(pd.read_csv(arguments.output).groupby("gate")[columns].agg(["mean", "std"]))


if __name__ == "__main__":
    main()
