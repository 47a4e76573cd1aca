"""Trains a small MoE model on JAX with its experts spread over devices and hosts.

On one machine, with two processes of two virtual devices each:

    python scripts/distributed_training.py --virtual-devices 2 --processes 2 --process 0 &
    python scripts/distributed_training.py --virtual-devices 2 --processes 2 --process 1
    wait

On several hosts, the same command on each, with its own number and the address of host 0:

    python scripts/distributed_training.py --coordinator 10.0.0.1:12345 --processes 4 --process 0

Every process prints the loss of each step, the same on all. With --check it also prints which
part of each weight its devices hold, and fails unless every device has its share of the experts.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

EXPERTS, FEATURES, TIME, EXAMPLES = 8, 16, 12, 32


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--coordinator", default="127.0.0.1:12345", help="host:port of process 0")
    add("--processes", type=int, default=1, help="number of processes (default 1)")
    add("--process", type=int, default=0, help="which of them this is, from 0")
    add("--expert-shards", type=int, help="devices that share the experts (default: a process's)")
    add("--virtual-devices", type=int, help="split the CPU into so many devices")
    add("--dispatch", default="capacity", help='of the MoE layer (default "capacity")')
    add("--steps", type=int, default=5)
    add("--check", action="store_true", help="show what the devices hold, fail if it is wrong")
    return parser.parse_args()


def build(dispatch: str = "capacity") -> Any:
    """The model, with the same weights in every process."""
    import keras

    from moe_apps.layers import MoE, SwiGLU, SwiGLUExperts, TopK

    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIME, FEATURES))
    hidden = keras.layers.Dense(FEATURES)(inputs)
    hidden = MoE(
        TopK(k=2, balance_loss_weight=0.01),
        SwiGLUExperts(EXPERTS, 32),
        shared=SwiGLU(32),
        dispatch=dispatch,
        name="moe",
    )(hidden)
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))


def data() -> tuple[Any, Any]:
    """All examples; a process is given its part of them."""
    import numpy as np

    x = np.random.default_rng(0).normal(size=(EXAMPLES, TIME, FEATURES)).astype("float32")
    return x, np.sin(3 * x[..., :1] * np.sign(x[..., 1:2]))


def misplaced(model: Any, shards: int, name: str) -> list[str]:
    """Print the parts that this process holds; return what is not held as it should be."""
    expert = {id(weight) for weight in model.get_layer("moe").experts.stacked_weights}
    slots = {f"{w.path.replace('/', '_')}_momentum": w for w in model.trainable_variables}
    wrong = []
    for variable in [*model.variables, *model.optimizer.variables]:
        parts = [shard.data.shape for shard in variable.value.addressable_shards]
        print(f"{name}: {variable.path} {variable.shape} in parts {parts}", flush=True)
        expected = tuple(variable.shape)
        if id(slots.get(variable.name, variable)) in expert:
            expected = (expected[0] // shards, *expected[1:])
        elif variable.name.endswith("_velocity"):  # laid out as the momentum
            continue
        if any(part != expected for part in parts):
            wrong.append(variable.path)
    return wrong


def main() -> None:
    options = arguments()
    name = f"process {options.process} of {options.processes}"
    os.environ["KERAS_BACKEND"] = "jax"
    if options.virtual_devices:  # read when JAX is imported
        os.environ["JAX_PLATFORMS"] = "cpu"
        flag = f"--xla_force_host_platform_device_count={options.virtual_devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"

    import jax

    if options.processes > 1:  # before anything asks JAX for its devices
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(options.coordinator, options.processes, options.process)

    import keras

    from moe_apps.layers.sharding import expert_parallel

    shards = options.expert_shards or jax.local_device_count()
    distribution = expert_parallel(lambda: build(options.dispatch), shards)
    distribution.auto_shard_dataset = False  # each process is given its own examples below
    keras.distribution.set_distribution(distribution)
    model = build(options.dispatch)
    model.compile(keras.optimizers.Adam(0.01), "mse")

    # Processes among which the experts are spread share one part of the batch: they give the same.
    rows = EXAMPLES // min(distribution.num_model_replicas, options.processes)
    first = rows * distribution.data_shard_id
    x, y = (array[first : first + rows] for array in data())
    report = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda step, logs: print(
            f"{name}: step {step + 1}, loss {logs['loss']:.6f}", flush=True
        )
    )
    # One batch of all examples is an epoch, so that its loss is that of one step.
    settings = {"batch_size": len(x), "epochs": options.steps, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=[report], **settings)
    if options.check:
        wrong = misplaced(model, shards, name)
        if wrong:
            sys.exit(f"{name}: not held as they should be: {', '.join(wrong)}")
        print(f"{name}: every device holds {EXPERTS // shards} of {EXPERTS} experts", flush=True)


if __name__ == "__main__":
    main()
