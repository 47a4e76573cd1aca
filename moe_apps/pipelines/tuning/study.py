"""A study of Optuna in a folder: trials, pruning, and going on after an interruption."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_apps.errors import ConfigError, RunError, UserError
from moe_apps.pipelines.atomic_files import write_text
from moe_apps.pipelines.config import RunConfig, dump_config
from moe_apps.pipelines.domain import Domain
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import tracked_folder
from moe_apps.pipelines.tuning.space import KIND, SPACE_FILE, Space, dump_space, load_space
from moe_apps.pipelines.tuning.trial import REASON, run_trial, settings_of

if TYPE_CHECKING:
    import optuna

STUDY_FILE, BEST_FILE = "study.db", "best.yaml"
AGAIN = "again"
"""Attribute of a trial: number of the interrupted one that it repeats."""


def tune(
    domain: Domain, config: RunConfig, space: Space, run: RunFolder, trials: int
) -> dict[str, Any]:
    """Try settings until there are `trials` that are complete, pruned or failed.

    Every trial trains the model alone and is judged by the domain's `monitor` on the validation
    part; the test part is never looked at. A trial that was interrupted counts as none: it is
    run again, from its start, when the study goes on.

    Args:
        domain: The domain.
        config: Settings that the space is laid over.
        space: What is searched; that of the folder wins when a study goes on.
        run: The study's folder, new or with a study in it.
        trials: Number of trials in all, those of earlier sessions included.

    Returns:
        `run` (the folder), `metric`, `higher_is_better`, `trials` (see `trial_row`), `best` (the
        best trial's row) and `best_config` (a file for `train --config`).

    Raises:
        RunError: Another process works on the study, or the folder cannot be made.
        ConfigError: No trial could be trained; with what the last one said.
        KeyboardInterrupt: Passed on; the study can go on.

    Example:
        >>> tune(DOMAIN, config, load_space(DOMAIN), run, 20)["best"]  # doctest: +SKIP
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    new = not run.started
    if new:
        run.start(config)
        write_text(run.path / SPACE_FILE, dump_space(space))
    space = load_space(domain, run.path / SPACE_FILE)
    with _alone(run.path):
        run.write_details(kind=KIND, trials=trials, status="running")
        study = _study(domain, config, run)
        _queue_interrupted(study)
        try:
            with tracked_folder(domain.name, run) as tracker:
                tracker.tags({"kind": KIND, "trials": trials})
                tracker.parameters({"space": dump_space(space), **config.model_dump()})
                while len(done(study)) < trials:
                    number = run_trial(study, domain, config, space, run, tracker)
                    print(_line(study, domain, number, trials), file=sys.stderr)
        except KeyboardInterrupt:
            run.write_details(status="interrupted")
            raise
        except Exception as error:
            # A mistake of the user's, such as in the data, leaves nothing behind.
            if new and isinstance(error, UserError) and not done(study):
                run.discard()
            else:
                run.write_details(status="failed")
            raise
        return _result(study, domain, config, run)


def done(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that count: complete, pruned, or failed for a reason of their own.

    Example:
        >>> import optuna
        >>> done(optuna.create_study())
        []
    """
    return [
        trial
        for trial in study.trials
        if trial.state.name in ("COMPLETE", "PRUNED")
        or (trial.state.name == "FAIL" and REASON in trial.user_attrs)
    ]


def trial_row(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """Return `number`, `state`, `value`, `epochs`, `settings`, `reason` of a failure.

    The value is that of the best epoch; of a pruned trial, of the last one.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> study.tell(study.ask(), 0.5)
        FrozenTrial(...)
        >>> trial_row(study.trials[0])["value"]
        0.5
    """
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "epochs": len(trial.intermediate_values),
        "settings": dict(trial.params),
        "reason": trial.user_attrs.get(REASON),
    }


def _study(domain: Domain, config: RunConfig, run: RunFolder) -> optuna.Study:
    import optuna

    study = optuna.create_study(
        study_name=domain.name,
        storage=f"sqlite:///{(run.path / STUDY_FILE).absolute()}",
        direction="maximize" if domain.monitor_mode == "max" else "minimize",
        # An epoch says little of where the training will end.
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2),
        load_if_exists=True,
    )
    # With the first seed again, a study that goes on would draw the settings it has drawn already.
    seed = config.seed + len(study.trials)
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=5, seed=seed)
    return study


def _queue_interrupted(study: optuna.Study) -> None:
    """Mark trials of a session that is no more as failed, and have their settings tried again."""
    import optuna

    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    repeated = {trial.user_attrs.get(AGAIN) for trial in study.trials}
    for trial in study.get_trials(states=[optuna.trial.TrialState.FAIL]):
        if REASON not in trial.user_attrs and trial.number not in repeated and trial.params:
            study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from a study: they would take its running trial for interrupted."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{folder}: another process works on this study") from None
        yield


def _line(study: optuna.Study, domain: Domain, number: int, trials: int) -> str:
    counted, row = done(study), trial_row(study.trials[number])
    said = row["reason"] or f"{domain.monitor} {row['value']:.4g}, {row['state']}"
    best = _best(study)
    so_far = "" if best is None else f"; best {best.value:.4g} of trial {best.number}"
    return f"trial {row['number']} ({len(counted)} of {trials})  {said}{so_far}"


def _best(study: optuna.Study) -> optuna.trial.FrozenTrial | None:
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    return study.best_trial if complete else None


def _result(
    study: optuna.Study, domain: Domain, config: RunConfig, run: RunFolder
) -> dict[str, Any]:
    best = _best(study)
    rows = [trial_row(trial) for trial in study.trials]
    if best is None:
        run.write_details(status="failed")
        reasons = [row["reason"] for row in rows if row["reason"]]
        raise ConfigError(f"no trial could be trained; the last one: {reasons[-1]}")
    space = load_space(domain, run.path / SPACE_FILE)
    settings = settings_of(domain, config, space, best.params)
    write_text(run.path / BEST_FILE, dump_config(settings))
    run.write_details(status="finished")
    return {
        "run": run.path,
        "domain": domain.name,
        "metric": domain.monitor,
        "higher_is_better": domain.monitor_mode == "max",
        "trials": rows,
        "best": trial_row(best),
        "best_config": run.path / BEST_FILE,
    }
