"""One call of a model that is served, from a file to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from moe_apps.errors import ConfigError
from moe_apps.pipelines.atomic_files import write_json, written_whole
from moe_apps.pipelines.domain import Domain
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.registry import DOMAINS
from moe_apps.serving.client.connection import connect
from moe_apps.serving.client.described import Which
from moe_apps.serving.client.files import inputs_from


def call(
    url: str,
    which: Which,
    path: Path,
    *,
    run: Path | None = None,
    set: Sequence[str] = (),
    output: Path | None = None,
    timeout: float = 30.0,
) -> dict[str, Any]:
    """Return the outputs of a model for what a file holds; see `connect` and `inputs_from`.

    Args:
        url: address of the server.
        which: model, version and signature.
        path: file of inputs.
        run: run of the model; with it the file is read as `moe-apps predict` reads it.
        set: inputs as `name=value`, the value in YAML, such as `horizon=24`.
        output: file to write the outputs to, `.json` or `.npz`.
        timeout: seconds.

    Raises:
        UserError: file, address or values cannot be used, or the server refuses.
    """
    if output is not None and output.suffix not in (".json", ".npz"):
        raise ConfigError(f"{output}: expected a file .json or .npz")
    client = connect(url, timeout=timeout)
    try:
        signature = client.signature(which)
        given = dict(_setting(text) for text in set)
        if run is None:
            inputs = inputs_from(path, signature, given)
        else:
            inputs = {**_read_by(run, which.model, path), **given}
        outputs = client.predict(which, inputs)
    finally:
        client.close()
    if output is not None:
        _write(outputs, output)
    return outputs


def _read_by(run: Path, model: str, path: Path) -> dict[str, Any]:
    folder = RunFolder.open(run)
    name = str(folder.read_details().get("domain"))
    if name != model:
        raise ConfigError(f"{run}: is a run of {name}, not of {model}")
    domain: Domain = DOMAINS.get(name)
    return domain.request(folder, path)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ConfigError(f"--set {text}: expected NAME=VALUE")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {text}: {value!r} is no value") from None


def _write(outputs: Mapping[str, np.ndarray], path: Path) -> None:
    if path.suffix == ".json":
        write_json(path, outputs)
        return
    with written_whole(path) as temporary:
        # Text of a fixed width: arrays of objects would need pickle.
        plain = {n: a.astype(str) if a.dtype == object else a for n, a in outputs.items()}
        np.savez_compressed(temporary, allow_pickle=False, **plain)
