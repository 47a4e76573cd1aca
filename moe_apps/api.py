"""The commands as Python functions, from `inspect` and `train` to `serve` and `call`."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moe_apps.errors import ConfigError, DataError, RunError, UserError
from moe_apps.pipelines.config import RunConfig, load_config
from moe_apps.pipelines.domain import Domain
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.registry import DOMAINS


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; its text says how to go on.

    Attributes:
        run: The run folder.
        resumable: Whether a checkpoint is there to go on from.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run.path
        self.resumable = run.checkpoint.is_dir() and any(run.checkpoint.iterdir())
        command = f"moe-apps train {run.read_details()['domain']} --resume {run.path}"
        how = f"go on by: {command}" if self.resumable else "there is no checkpoint yet"
        super().__init__(f"interrupted; {how}")


def inspect(domain: str, path: str | Path, *, draft: str | Path | None = None) -> dict[str, Any]:
    """Return what a domain understands of a file or folder, without training on it.

    Args:
        domain: Name of the domain.
        path: File or folder of data.
        draft: File to write the drafted settings to, for domains that give some (key `draft`).

    Raises `UserError` when there is nothing that can be read, nothing is drafted, or the draft's
    file is there already.

    Example:
        >>> import moe_apps
        >>> moe_apps.inspect("forecasting", "load.csv")["series"]  # doctest: +SKIP
        7
    """
    found = Path(path)
    if not found.exists():
        raise DataError(f"{path}: no such file or folder")
    if draft is not None and Path(draft).exists():
        raise ConfigError(f"{draft}: is there already, maybe with your changes; name another file")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    facts: dict[str, Any] = DOMAINS.get(domain).inspect(found)
    if draft is not None:
        if "draft" not in facts:
            raise ConfigError(f"{draft}: the domain {domain} drafts nothing")
        try:
            Path(draft).write_text(facts["draft"], encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{draft}: cannot be written: {error.strerror}") from None
    return facts


def train(
    domain: str,
    *,
    data: str | Path | None = None,
    format: str | None = None,
    schema: str | Path | None = None,
    config: str | Path | None = None,
    set: Sequence[str] = (),
    output: str | Path | None = None,
    seed: int | None = None,
    quick: bool = False,
    force: bool = False,
    resume: str | Path | None = None,
    from_run: str | Path | None = None,
) -> dict[str, Any]:
    """Train a domain's model, judge it beside its baselines, export it and track the run.

    Args:
        domain: Name of the domain; `moe-apps list` shows them.
        data: File to train on; by default the domain's sample data.
        format: Format of the data, in domains that read several; by default it is found.
        schema: YAML file on what the columns mean, in domains that need one.
        config: YAML file of settings.
        set: Settings as `key=value`; they win over everything else.
        output: The run folder, made new; by default runs/<domain>/<time>.
        seed: Seed of everything random.
        quick: Train a small model, in one to three minutes on two cores.
        force: Let the new run replace the run in `output`.
        resume: Folder of an interrupted run to go on with; it brings its own settings.
        from_run: Folder of a trained run whose model is trained further, on other data or with
            other training settings; its settings hold where no others are given.

    Returns:
        The content of `metrics.json`, and under `paths` where everything is.

    Raises:
        UserError: Settings, data or folder cannot be used; the message is one line.
        Interrupted: Ctrl-C; a `KeyboardInterrupt` that knows the run folder.

    Example:
        >>> import moe_apps
        >>> result = moe_apps.train("forecasting", quick=True)  # doctest: +SKIP
        >>> result["test"]["mse"] < result["baselines"]["repeat_last"]["mse"]  # doctest: +SKIP
        True
    """
    chosen: Domain = DOMAINS.get(domain)
    if resume is not None:
        others = (data, format, schema, config, output, seed, from_run)
        if any(value is not None for value in others) or set or quick or force:
            raise ConfigError("--resume goes on with the settings of its run: give no others")
        run = RunFolder.open(Path(resume), trained=False)
        details = run.read_details()
        if details.get("domain") != domain:
            raise ConfigError(f"{resume}: is a run of {details.get('domain')}, not of {domain}")
        if details.get("kind") == "tuning":
            raise RunError(
                f"{resume}: is a tuning; go on by: moe-apps tune {domain} --resume {resume}"
            )
        if details.get("status") == "finished":
            raise RunError(f"{resume}: is finished, there is nothing to resume")
        settings = run.read_config(chosen.config_class)
    else:
        origin = None if from_run is None else _origin(chosen, from_run)
        base = None
        if origin is not None:
            base = origin.read_config(chosen.config_class).model_dump(mode="json")
        settings = _settings(chosen, data, format, schema, config, set, seed, quick, base)
        run = RunFolder.create(domain, Path(output) if output else None, force)
        run.origin = None if origin is None else origin.path
    _use_backend(settings)
    metrics = _train(chosen, settings, run)
    return {**metrics, "paths": _paths(run)}


def evaluate(
    run: str | Path, *, data: str | Path | None = None, set: Sequence[str] = ()
) -> dict[str, Any]:
    """Judge a trained run by its own protocol, on other data if given.

    `set` has `key=value` texts laid over the run's settings; those of the model stay what they
    were in training. Returns the same keys as `train`. Raises `UserError` for a folder that is no
    trained run or data that cannot be used.

    Example:
        >>> import moe_apps
        >>> moe_apps.evaluate("runs/forecasting/ett", data="other.csv")  # doctest: +SKIP
    """
    folder, domain = _open(run, set)
    metrics = domain.evaluate(folder, Path(data) if data else None)
    return {**metrics, "paths": _paths(folder)}


def predict(
    run: str | Path, *, input: str | Path, output: str | Path, set: Sequence[str] = ()
) -> dict[str, Any]:
    """Answer for a file, in its own units, with a trained run.

    `set` is as in `evaluate`. Returns `rows`, `output` and `notes`. Raises `UserError` as
    `evaluate` does.

    Example:
        >>> import moe_apps
        >>> moe_apps.predict("runs/forecasting/ett", input="now.csv", output="next.csv")["rows"]
        ... # doctest: +SKIP
        96
    """
    folder, domain = _open(run, set)
    return domain.predict(folder, Path(input), Path(output))


def backtest(
    run: str | Path,
    *,
    data: str | Path | None = None,
    cutoffs: int = 5,
    stride: int | None = None,
    refit: bool = False,
    output: str | Path | None = None,
    set: Sequence[str] = (),
) -> dict[str, Any]:
    """Forecast from several past moments as if each were now, and compare with what came.

    Args:
        run: Folder of a trained run.
        data: File; by default the run's own data.
        cutoffs: Moments, the last one a horizon before the end of the data.
        stride: Steps from one to the next; by default the horizon.
        refit: Train anew for each cut-off, on the rows before it.
        output: File for the forecasts and what came, CSV or Parquet.
        set: As in `evaluate`.

    Returns:
        Errors of the model and of naive forecasts, in all and by cut-off; `notes`.

    Raises:
        UserError: As in `evaluate`; also in domains that have no back-test.

    Example:
        >>> import moe_apps
        >>> moe_apps.backtest("runs/forecasting/ett", cutoffs=10, stride=24)  # doctest: +SKIP
    """
    folder, domain = _open(run, set)
    return domain.backtest(
        folder,
        Path(data) if data else None,
        cutoffs=cutoffs,
        stride=stride,
        refit=refit,
        output=Path(output) if output else None,
    )


def export(run: str | Path, *, to: str | Path, version: int | None = None) -> Path:
    """Write a trained run as a SavedModel to `to`/<domain>/<version>/ and return that folder.

    Args:
        run: Folder of a trained run.
        to: Base folder of a model server.
        version: Version number, at least 1; by default the next one that is free.

    Raises:
        UserError: The folder is no trained run, or the version is there already.

    Example:
        >>> import moe_apps
        >>> moe_apps.export("runs/forecasting/ett", to="served")  # doctest: +SKIP
        PosixPath('served/forecasting/1')
    """
    folder, domain = _open(run)
    number = "" if version is None else str(version)
    base = Path(to) / domain.name
    return Path(_on_tensorflow(_export, str(folder.path), str(base), number))


def serve_config(folder: str | Path, *, to: str | Path) -> list[Path]:
    """Write what TensorFlow Serving is started with for the models of a folder.

    Args:
        folder: Has the models, as `export` wrote them.
        to: Folder for the files.

    Returns:
        The files.

    Raises:
        UserError: There are no models, or the files cannot be written.

    Example:
        >>> import moe_apps
        >>> moe_apps.serve_config("served", to="deployment")  # doctest: +SKIP
    """
    from moe_apps.serving.deployment.files import write_deployment

    return write_deployment(Path(folder), Path(to))


def serve(folder: str | Path, *, models_config: str | Path | None = None, **settings: Any) -> None:
    """Answer like TensorFlow Serving until Ctrl-C, with the models that `export` wrote.

    Args:
        folder: Has a folder for each model.
        models_config: A models.config, for version policies and labels.
        **settings: More attributes of `moe_apps.serving.server.settings.ServerSettings`.

    Raises:
        UserError: Folder, configuration or ports cannot be used.

    Example:
        >>> import moe_apps
        >>> moe_apps.serve("served", rest_port=8501)  # doctest: +SKIP
    """
    _needs("serving", "fastapi", "grpc", "orjson", "prometheus_client", "uvicorn")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    from moe_apps.serving.server.run import serve as run
    from moe_apps.serving.server.settings import ServerSettings

    config = Path(models_config) if models_config else None
    run(ServerSettings(Path(folder), models_config=config, **settings))


def call(
    url: str,
    model: str,
    *,
    input: str | Path,
    run: str | Path | None = None,
    set: Sequence[str] = (),
    output: str | Path | None = None,
    signature: str = "serving_default",
    version: int | None = None,
    label: str = "",
    timeout: float = 30.0,
) -> dict[str, Any]:
    """Return the answer of a server, ours or TensorFlow Serving, to a file.

    Args:
        url: `http://HOST:PORT` for REST, `grpc://HOST:PORT` for gRPC.
        model: Name of the served model, that of its domain.
        input: JSON, .npz, table, sound or image; `moe_apps.serving.client.files` says how.
        run: Run of the model: with it the file is read as `predict` reads it.
        set: Inputs that are not in the file, as `name=value`.
        output: File for the answer, .json or .npz.
        signature: Signature of the model.
        version: Version of the model; by default the server's choice.
        label: Name of a version, instead of its number.
        timeout: Seconds to wait.

    Returns:
        Arrays by name of the output.

    Raises:
        UserError: File or address cannot be used, or the server refuses.

    Example:
        >>> import moe_apps
        >>> url = "http://127.0.0.1:8501"
        >>> moe_apps.call(url, "forecasting", input="now.csv", set=["horizon=24"])
        ... # doctest: +SKIP
    """
    _needs("serving", "requests", *(["grpc"] if url.startswith("grpc:") else []))
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from moe_apps.serving.client.call import call as ask
    from moe_apps.serving.client.described import Which

    return ask(
        url,
        Which(model, version, label, signature),
        Path(input),
        run=Path(run) if run else None,
        set=set,
        output=Path(output) if output else None,
        timeout=timeout,
    )


def listen(
    run: str | Path,
    *,
    file: str | Path | None = None,
    device: str | None = None,
    pace: float = 1.0,
) -> Iterator[dict[str, Any]]:
    """Yield the answers of a trained run while sound comes in, of a file or a device.

    Args:
        run: Folder of a trained run of a domain that listens (acoustic).
        file: Sound file, streamed in real time; without it, a device is listened to.
        device: Name or number of an input device; by default the system's.
        pace: Times real time for a file; 0 for as fast as possible.

    Raises:
        UserError: The run, file or device cannot be used.

    Example:
        >>> import moe_apps
        >>> for heard in moe_apps.listen("runs/ships", file="a.wav", pace=0):  # doctest: +SKIP
        ...     print(heard["end"], heard["class"], heard["expert"])
    """
    if file is not None and device is not None:
        raise ConfigError("--file and --device: expected one of them")
    if pace < 0:
        raise ConfigError(f"--pace {pace:g}: expected 0 or more")
    if file is not None and not Path(file).is_file():
        raise DataError(f"{file}: no such file")
    folder, domain = _open(run)
    return domain.listen(folder, None if file is None else Path(file), device, pace)


def tune(
    domain: str,
    *,
    trials: int | None = None,
    space: str | Path | None = None,
    data: str | Path | None = None,
    format: str | None = None,
    schema: str | Path | None = None,
    config: str | Path | None = None,
    set: Sequence[str] = (),
    output: str | Path | None = None,
    seed: int | None = None,
    quick: bool = False,
    resume: str | Path | None = None,
) -> dict[str, Any]:
    """Search for better settings by Optuna, judged on the validation part alone.

    Args:
        domain: Name of the domain.
        trials: Number of trials in all; by default 20, or what the resumed study was asked for.
        space: YAML file of what to search; by default the domain's own space.
        data, format, schema, config, set, seed, quick: As in `train`; the space is laid over them.
        output: Folder of the study, made new; by default runs/<domain>/tuning-<time>.
        resume: Folder of a study to go on with; it brings its own settings and space.

    Returns:
        What `tuning.study.tune` returns; `best_config` is a file for `train(config=...)`.

    Raises:
        UserError: Settings, space, data or folder cannot be used, or Optuna is not installed.
        KeyboardInterrupt: Ctrl-C; its text says how to go on.

    Example:
        >>> import moe_apps
        >>> found = moe_apps.tune("forecasting", trials=20, quick=True)  # doctest: +SKIP
        >>> moe_apps.train("forecasting", config=found["best_config"])  # doctest: +SKIP
    """
    _needs("tune", "optuna")
    from moe_apps.pipelines.tuning.space import KIND, SPACE_FILE, load_space

    chosen: Domain = DOMAINS.get(domain)
    if trials is not None and trials < 1:
        raise ConfigError(f"--trials {trials}: expected at least 1")
    if resume is not None:
        others = (space, data, format, schema, config, output, seed)
        if any(value is not None for value in others) or set or quick:
            raise ConfigError("--resume goes on with the settings of its study: give no others")
        run = RunFolder.open(Path(resume), trained=False)
        details = run.read_details()
        if details.get("kind") != KIND or details.get("domain") != domain:
            raise ConfigError(f"{resume}: is no tuning of {domain}")
        trials = trials or int(details["trials"])
        settings = run.read_config(chosen.config_class)
        dimensions = load_space(chosen, run.path / SPACE_FILE)
    else:
        settings = _settings(chosen, data, format, schema, config, set, seed, quick)
        dimensions = load_space(chosen, Path(space) if space else None)
        now = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = Path(output) if output else Path("runs", domain, f"tuning-{now}")
        run = RunFolder.create(domain, folder)
    _use_backend(settings)
    from moe_apps.pipelines.tuning.study import tune as search

    try:
        return search(chosen, settings, dimensions, run, trials or 20)
    except KeyboardInterrupt:
        if not run.started:
            raise
        command = f"moe-apps tune {domain} --resume {run.path}"
        raise KeyboardInterrupt(f"interrupted; go on by: {command}") from None


def compare(domain: str | None = None, *, most: int = 20) -> dict[str, Any]:
    """Return tracked runs beside their baselines, from MLflow.

    Args:
        domain: Name of the domain; by default all.
        most: Number of the newest runs of each domain.

    Returns:
        Under `runs` a list with `domain` and what `tracked_runs.tracked_runs` says of each;
        of a domain, runs that were judged by the same test part stand together, best first.

    Raises:
        UserError: The domain is unknown, or MLflow does not answer.

    Example:
        >>> import moe_apps
        >>> [run["model"] for run in moe_apps.compare("forecasting")["runs"]]  # doctest: +SKIP
        [0.352, 0.361]
    """
    from moe_apps.pipelines.tracked_runs import tracked_runs

    names = [domain] if domain else DOMAINS.names()
    return {
        "runs": [
            {"domain": name, **row}
            for name in names
            for row in tracked_runs(DOMAINS.get(name), most)
        ]
    }


def sync(run: str | Path, *, to: str | None = None) -> dict[str, Any]:
    """Send to MLflow what it lacks of a run, such as after its server was away.

    Args:
        run: Folder of a run, trained or not, or of a tuning with all its trials.
        to: Address of another store than the run's own.

    Returns:
        Under `runs`, for each run sent, what `tracking_sync.sync` says, and `registered`: whether
        its model was put into the registry.

    Raises:
        UserError: The folder is no run, or MLflow does not answer.

    Example:
        >>> import moe_apps
        >>> moe_apps.sync("runs/forecasting/ett")["runs"][0]["sent"]  # doctest: +SKIP
        12
    """
    from moe_apps.pipelines.tracking_sync import folders_of
    from moe_apps.pipelines.tracking_sync import sync as send_missing

    folder = RunFolder.open(Path(run), trained=False)
    found = [send_missing(folder, to)]
    for trial in folders_of(folder):
        part = RunFolder.open(trial, trained=False)
        found.append(send_missing(part, to, parent=found[0]["mlflow_run"]))
    registered = False
    if folder.saved_model.is_dir():
        from moe_apps.serving import tracked_model

        registered = tracked_model.log(folder)
    found[0]["registered"] = registered
    return {"runs": found}


def demo(
    domains: Sequence[str] = (),
    *,
    runs: str | Path = "runs",
    port: int = 7860,
    host: str = "127.0.0.1",
    wait: bool = True,
) -> str:
    """Serve a page to try the models in a browser, a tab a domain; return its address.

    Args:
        domains: Names of domains; by default all that have a demo.
        runs: Folder of runs, or one run. A domain without a trained run in it gets a small one,
            trained on first use.
        port: Port to listen on; 0 for any that is free.
        host: Address to listen on; the page knows no users and no encryption.
        wait: Return only when the page is stopped.

    Raises:
        UserError: A domain has no demo, the port is taken, or the extra `demos` is missing.

    Example:
        >>> import moe_apps
        >>> moe_apps.demo(["deraining"], runs="runs")  # doctest: +SKIP
    """
    _needs("demos", "gradio", "plotly")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from moe_apps.demos.page import build
    from moe_apps.demos.page import serve as serve_page

    return serve_page(build(domains, Path(runs)), port, host, wait)


def _settings(
    domain: Domain,
    data: str | Path | None,
    format: str | None,
    schema: str | Path | None,
    config: str | Path | None,
    set: Sequence[str],
    seed: int | None,
    quick: bool,
    base: dict[str, Any] | None = None,
) -> RunConfig:
    """Settings from what `train` and `tune` are given, over those of `base`."""
    over: dict[str, Any] = {**domain.quick} if quick else {}
    given = {
        "path": None if data is None else str(data),
        "format": format,
        "schema_file": None if schema is None else str(schema),
    }
    given = {name: value for name, value in given.items() if value is not None}
    if given:
        over["data"] = {**over.get("data", {}), **given}
    if seed is not None:
        over["seed"] = seed
    file = Path(config) if config else None
    base = {"domain": domain.name} if base is None else base
    settings = load_config(domain.config_class, file, set, base, over)
    if settings.domain != domain.name:
        raise ConfigError(f"{config}: is for the domain {settings.domain}, not {domain.name}")
    return settings


def _needs(extra: str, *modules: str) -> None:
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: not installed; install by pip install 'moe-apps[{extra}]'"
        )


def _train(domain: Domain, config: RunConfig, run: RunFolder) -> dict[str, Any]:
    resume = run.started
    try:
        metrics = domain.train(config, run, resume)
        _on_tensorflow(_finish, str(run.path))
    except KeyboardInterrupt:
        if not run.started:
            raise
        run.write_details(status="interrupted")
        raise Interrupted(run) from None
    except Exception as error:
        # What a user did wrong leaves nothing behind, unless there is work to keep.
        if isinstance(error, UserError) and run.started and not run.checkpoint.exists():
            run.discard()
        elif run.started:
            run.write_details(status="failed")
        raise
    run.write_details(status="finished")
    return metrics


def _finish(run: str) -> str:
    folder = RunFolder.open(Path(run))
    from moe_apps.serving import tracked_model

    exported = _export(run, str(folder.saved_model), "1")
    tracked_model.log(folder)
    return exported


def _export(run: str, base: str, version: str) -> str:
    folder = RunFolder.open(Path(run))
    from moe_apps.serving import export as exporting

    return str(exporting.export(folder, Path(base), int(version) if version else None))


def _origin(domain: Domain, run: str | Path) -> RunFolder:
    if not domain.fine_tunes:
        raise ConfigError(f"--from {run}: the domain {domain.name} does not train runs further")
    folder = RunFolder.open(Path(run))
    found = folder.read_details().get("domain")
    if found != domain.name:
        raise ConfigError(f"--from {run}: is a run of {found}, not of {domain.name}")
    return folder


def _open(run: str | Path, overrides: Sequence[str] = ()) -> tuple[RunFolder, Domain]:
    folder = RunFolder.open(Path(run))
    folder.overrides = tuple(overrides)
    if fixed := [text for text in overrides if text.strip().startswith("model.")]:
        raise ConfigError(f"--set {fixed[0]}: the model is trained, its settings stay")
    domain = DOMAINS.get(str(folder.read_details().get("domain")))
    # A .keras file loads on any backend; only training has a setting for it.
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    return folder, domain


def _use_backend(config: RunConfig) -> None:
    name = getattr(getattr(config, "train", None), "backend", "tensorflow")
    if find_spec(name) is None:
        raise ConfigError(
            f"train.backend={name}: is not installed; install it by pip install 'moe-apps[{name}]'"
        )
    current = _loaded_backend()
    if current not in (None, name):
        raise ConfigError(
            f"train.backend={name}: Keras runs on {current} in this process already; "
            f"set KERAS_BACKEND={name} before Keras is imported"
        )
    os.environ["KERAS_BACKEND"] = name


def _loaded_backend() -> str | None:
    keras = sys.modules.get("keras")
    return keras.backend.backend() if keras else None


def _on_tensorflow(step: Callable[..., str], *arguments: str) -> str:
    # Only TensorFlow writes a SavedModel, and Keras keeps the backend it was imported with.
    if _loaded_backend() in (None, "tensorflow"):
        os.environ["KERAS_BACKEND"] = "tensorflow"
        return step(*arguments)
    code = (
        f"import sys; from moe_apps.api import {step.__name__} as step; print(step(*sys.argv[1:]))"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if child.returncode:
        raise RunError(f"{arguments[0]}: could not be exported on TensorFlow; see the lines above")
    return child.stdout.splitlines()[-1]


def _paths(run: RunFolder) -> dict[str, str]:
    files = {
        "run": run.path,
        "config": run.config_file,
        "model": run.model_file,
        "metrics": run.metrics_file,
        "history": run.history_file,
        "figures": run.figures,
        "report": run.report_file,
        "saved_model": run.saved_model,
    }
    return {name: str(path) for name, path in files.items() if path.exists()}
