"""The command line: a thin shell over `moe_apps.api`.

Results go to standard output, everything else to standard error. Exit code 0 is success, 1 a check
of `doctor` that failed, 2 a mistake in what was given, 130 Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from moe_apps import __version__
from moe_apps.errors import UserError

app = typer.Typer(
    name="moe-apps",
    help="Train, judge and serve sparse Mixture-of-Experts models on your own data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting of the run, other than trained."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit()


@app.callback()
def start(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    # Without a GPU, TensorFlow reports on import that it found none, as an error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@app.command("list")
def list_what_there_is(
    layers: Annotated[
        bool, typer.Option("--layers", help="Routers, expert banks and other layers instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show domains, their systems and papers, or the layers."""
    if layers:
        _list_layers(as_json)
        return
    from moe_apps.registry import DOMAINS

    rows = []
    for name in DOMAINS.names():
        try:
            rows.append(DOMAINS.get(name).describe())
        except UserError as error:
            rows.append({"name": name, "problem": str(error), "systems": []})
    if as_json:
        _print_json({"domains": rows})
    else:
        from moe_apps import tables

        tables.show_domains(rows)


def _list_layers(as_json: bool) -> None:
    with _work():
        from moe_apps.layers.catalogue import rows

        found = list(rows())
    if as_json:
        _print_json({"layers": found})
    else:
        from moe_apps import tables

        tables.show_layers(found)


@app.command()
def inspect(
    domain: Annotated[str, typer.Argument(help="Name of a domain, see `moe-apps list`.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="File or folder of data.")],
    draft: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the draft of a domain that drafts a schema."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is understood of data, before training on them."""
    with _work():
        from moe_apps import api

        found = api.inspect(domain, path, draft=draft)
    if as_json:
        _print_json(found)
    else:
        from moe_apps import tables

        tables.show_facts(found)


@app.command()
def train(
    domain: Annotated[str, typer.Argument(help="Name of a domain, see `moe-apps list`.")],
    data: Annotated[
        Path | None, typer.Option(help="Data file; by default the domain's sample data.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Format of the data, in domains that read several.")
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(help="YAML file on the columns, in domains that need one; inspect drafts it."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="One setting, such as model.num_experts=8."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The run folder; by default runs/DOMAIN/TIME.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small training of one to three minutes.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run that is in the output folder.")
    ] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")
    ] = None,
    from_run: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Train the model of a run further."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train, judge beside baselines, export, track."""
    with _work():
        from moe_apps import api

        metrics = api.train(
            domain,
            data=data,
            format=format,
            schema=schema,
            config=config,
            set=set or (),
            output=output,
            seed=seed,
            quick=quick,
            force=force,
            resume=resume,
            from_run=from_run,
        )
    _show_metrics(metrics, as_json)


@app.command()
def evaluate(
    run: Run,
    data: Annotated[
        Path | None, typer.Option(help="Other data; by default the test part of the run's own.")
    ] = None,
    set: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Judge a trained run by the same metrics and protocol."""
    with _work():
        from moe_apps import api

        metrics = api.evaluate(run, data=data, set=set or ())
    _show_metrics(metrics, as_json)


@app.command()
def predict(
    run: Run,
    input: Annotated[Path, typer.Option(help="What to answer for.")],
    output: Annotated[Path, typer.Option(help="File to write the answers to.")],
    set: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Answer for a file, in its own units."""
    with _work():
        from moe_apps import api

        result = api.predict(run, input=input, output=output, set=set or ())
    for note in result.get("notes", ()):
        typer.echo(f"moe-apps: note: {note}", err=True)
    if as_json:
        _print_json(result)
    else:
        print(f"{result['rows']} rows in {result['output']}")


@app.command()
def backtest(
    run: Run,
    data: Annotated[Path | None, typer.Option(help="Data file; by default the run's own.")] = None,
    cutoffs: Annotated[int, typer.Option(min=1, help="Past moments to forecast from.")] = 5,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Steps between them; by default the horizon.")
    ] = None,
    refit: Annotated[bool, typer.Option("--refit", help="Train anew before each of them.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="File for the forecasts, CSV or Parquet.")
    ] = None,
    set: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Forecast from past moments as if each were now, and compare with what came."""
    with _work():
        from moe_apps import api

        found = api.backtest(
            run,
            data=data,
            cutoffs=cutoffs,
            stride=stride,
            refit=refit,
            output=output,
            set=set or (),
        )
    if as_json:
        _print_json(found)
        return
    from moe_apps import tables

    rows = [{"system": name, **errors} for name, errors in found["systems"].items()]
    by_cutoff = [
        {"cut-off": cutoff, **{name: errors["mase"] for name, errors in systems.items()}}
        for cutoff, systems in found["by_cutoff"].items()
    ]
    tables.show_facts({"errors": rows, "MASE by cut-off": by_cutoff, "notes": found["notes"]})


@app.command()
def export(
    run: Run,
    to: Annotated[Path, typer.Option(help="Base folder of a model server.")],
    version: Annotated[
        int | None, typer.Option(min=1, help="By default the next one that is free.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained run as a SavedModel for TensorFlow Serving."""
    with _work():
        from moe_apps import api

        path = api.export(run, to=to, version=version)
    if as_json:
        _print_json({"saved_model": path})
    else:
        print(f"SavedModel in {path}")


@app.command("serve-config")
def serve_config(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `export` wrote to.")],
    to: Annotated[Path, typer.Option(help="Folder for the files.")],
    as_json: AsJson = False,
) -> None:
    """Write what TensorFlow Serving, Docker Compose and Kubernetes start with."""
    with _work():
        from moe_apps import api

        files = api.serve_config(folder, to=to)
    if as_json:
        _print_json({"files": files})
    else:
        print(*files, sep="\n")


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `export` wrote to.")],
    rest_port: Annotated[int, typer.Option(help="Port of the REST interface.")] = 8501,
    grpc_port: Annotated[int, typer.Option(help="Port of the gRPC interface.")] = 8500,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    models_config: Annotated[
        Path | None, typer.Option(help="A models.config; by default all that is in DIR.")
    ] = None,
    max_batch_rows: Annotated[
        int, typer.Option(min=1, help="Rows of waiting requests that run together; 1: none.")
    ] = 64,
    timeout: Annotated[float, typer.Option(help="Seconds in which a request is answered.")] = 30.0,
) -> None:
    """Answer like TensorFlow Serving, for development and tests."""
    with _work():
        from moe_apps import api

        api.serve(
            folder,
            rest_port=rest_port,
            grpc_port=grpc_port,
            host=host,
            models_config=models_config,
            max_batch_rows=max_batch_rows,
            timeout=timeout,
        )


@app.command()
def call(
    url: Annotated[str, typer.Argument(help="http://HOST:PORT or grpc://HOST:PORT of a server.")],
    model: Annotated[str, typer.Argument(metavar="DOMAIN", help="Name of the served model.")],
    input: Annotated[Path, typer.Option(help="What to answer for.")],
    run: Annotated[
        Path | None, typer.Option(help="Run of the model, to read the file as `predict` does.")
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An input that is not in the file."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File for the answer, .json or .npz; else it is printed.")
    ] = None,
    signature: Annotated[str, typer.Option(help="Signature of the model.")] = "serving_default",
    version: Annotated[int | None, typer.Option(help="By default the server's choice.")] = None,
    label: Annotated[str, typer.Option(help="Name of a version, such as stable.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 30.0,
) -> None:
    """Ask a server, ours or TensorFlow Serving, for the answer to a file."""
    with _work():
        from moe_apps import api

        answer = api.call(
            url,
            model,
            input=input,
            run=run,
            set=set or (),
            output=output,
            signature=signature,
            version=version,
            label=label,
            timeout=timeout,
        )
    if output is None:
        _print_json(answer)
    else:
        print(f"{', '.join(answer)} in {output}")


@app.command()
def listen(
    run: Run,
    file: Annotated[Path | None, typer.Option(help="Sound file; by default a device.")] = None,
    device: Annotated[str | None, typer.Option(help="Name or number of a device.")] = None,
    pace: Annotated[
        float, typer.Option(help="Times real time for a file; 0: as fast as possible.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Say what is heard while it sounds, segment by segment."""
    answers: Iterator[dict[str, Any]] = iter(())
    with _work():
        from moe_apps import api

        answers = iter(api.listen(run, file=file, device=device, pace=pace))
    while True:
        with _work():
            heard = next(answers, None)
        if heard is None:
            return
        if as_json:
            _print_json(heard)
        else:
            expert = "" if heard["expert"] is None else f"  expert {heard['expert']}"
            print(
                f"{heard['end']:9.2f} s  {heard['class']:<20} {heard['confidence']:6.1%}{expert}"
                f"  so far: {heard['running_class']} {heard['running_confidence']:.1%}"
            )
        sys.stdout.flush()


@app.command()
def demo(
    domains: Annotated[
        list[str] | None, typer.Argument(metavar="[DOMAIN]...", help="By default all.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of runs, or one run.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: any.")] = 7860,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Try the models in a browser, a tab a domain."""
    with _work():
        from moe_apps import api

        api.demo(domains or (), runs=runs, port=port, host=host)


@app.command()
def tune(
    domain: Annotated[str, typer.Argument(help="Name of a domain, see `moe-apps list`.")],
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all; by default 20.")] = None,
    space: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML file of what to search; by default the domain's."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data file; by default the domain's sample data.")
    ] = None,
    format: Annotated[str | None, typer.Option(help="Format of the data.")] = None,
    schema: Annotated[Path | None, typer.Option(help="YAML file on the columns.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="One setting, the same in all trials."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the study; by default runs/DOMAIN/tuning-TIME.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small trainings.")] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with an interrupted study.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search for better settings, judged on the validation part alone."""
    with _work():
        from moe_apps import api

        found = api.tune(
            domain,
            trials=trials,
            space=space,
            data=data,
            format=format,
            schema=schema,
            config=config,
            set=set or (),
            output=output,
            seed=seed,
            quick=quick,
            resume=resume,
        )
    if as_json:
        _print_json(found)
    else:
        from moe_apps import tables

        tables.show_tuning(found)


@app.command()
def compare(
    domain: Annotated[str | None, typer.Argument(help="Name of a domain; by default all.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Newest runs of each domain.")] = 20,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show tracked runs beside their baselines."""
    with _work():
        from moe_apps import api

        found = api.compare(domain, most=most)
    if as_json:
        _print_json(found)
        return
    from moe_apps import tables

    if as_csv:
        print(tables.runs_as_csv(found["runs"]), end="")
    else:
        tables.show_runs(found["runs"])


@app.command()
def sync(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run or a tuning.")],
    to: Annotated[
        str | None, typer.Option(metavar="URI", help="Another store than the run's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send to MLflow what it lacks of a run."""
    with _work():
        from moe_apps import api

        found = api.sync(run, to=to)
    if as_json:
        _print_json(found)
        return
    for row in found["runs"]:
        for reason in row["refused"]:
            typer.echo(f"moe-apps: note: MLflow refused {reason}", err=True)
        what = f"{row['sent']} entries sent to" if row["sent"] else "nothing was missing in"
        model = ", model registered" if row.get("registered") else ""
        print(f"{row['run']}: {what} {row['uri']}{model}")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 5000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open MLflow's own page on the runs."""
    import subprocess

    with _work():
        from moe_apps.pipelines.tracking_store import NO_TELEMETRY, tracking_uri

        store = tracking_uri()
        os.environ.setdefault(*NO_TELEMETRY)
    if store.startswith(("http://", "https://")):
        print(f"The runs are on {store}")
        return
    command = ["ui", "--backend-store-uri", store, "--host", host, "--port", str(port)]
    # In a session of its own: Ctrl-C would make it print a traceback, so it is ended from here.
    page = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command, "--workers", "1"], start_new_session=True
    )
    print(f"http://{host}:{port} shows the runs in {store}; Ctrl-C ends it", file=sys.stderr)
    try:
        code = page.wait()
    except KeyboardInterrupt:
        os.killpg(page.pid, signal.SIGTERM)
        page.wait()
        code = 0
    raise typer.Exit(code)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Show what works here, and what is missing."""
    with _work():
        from moe_apps.doctor import examine

        found = examine()
    if as_json:
        _print_json(found)
    else:
        from moe_apps import tables

        tables.show_examination(found)
    if not all(check["ok"] for check in found["checks"].values()):
        raise typer.Exit(1)


@contextmanager
def _work() -> Iterator[None]:
    """Keep standard output for the result, and turn errors into one line and an exit code."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except UserError as error:
        typer.echo(f"moe-apps: error: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt as error:
        typer.echo(f"moe-apps: {error or 'interrupted'}", err=True)
        raise typer.Exit(130) from None


def _show_metrics(metrics: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(metrics)
        return
    from moe_apps import tables
    from moe_apps.registry import DOMAINS

    domain = DOMAINS.get(metrics["domain"])
    tables.show_results(metrics, domain.headline, domain.higher_is_better)


def _print_json(content: dict[str, Any]) -> None:
    from moe_apps.pipelines.atomic_files import plain

    print(json.dumps(plain(content), allow_nan=False))


def main() -> None:
    """Run the command line."""
    app()
