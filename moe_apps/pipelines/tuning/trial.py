"""One trial of a study: settings, a training, and its place in MLflow."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moe_apps.errors import ConfigError, RunError
from moe_apps.pipelines.config import RunConfig, load_config
from moe_apps.pipelines.domain import Domain
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import tracked_folder
from moe_apps.pipelines.tracking import Tracker
from moe_apps.pipelines.tuning.space import Choice, Space, nested, suggest

if TYPE_CHECKING:
    import optuna

REASON = "reason"
"""Attribute of a trial: why it failed."""


def settings_of(
    domain: Domain, config: RunConfig, space: Space, params: Mapping[str, Any]
) -> RunConfig:
    """Return complete settings: those of the study with a trial's laid over.

    Args:
        domain: The domain.
        config: Settings of the study.
        space: Its space.
        params: Values by name, as Optuna keeps them.

    Raises:
        ConfigError: They do not go together.

    Example:
        >>> settings_of(DOMAIN, config, space, {"model.k": 2}).model.k  # doctest: +SKIP
        2
    """
    values = {
        name: one.kept(params[name]) if isinstance(one := space[name], Choice) else params[name]
        for name in params
    }
    base = config.model_dump(mode="json")
    return load_config(domain.config_class, base=base, over=nested(values))


def run_trial(
    study: optuna.Study,
    domain: Domain,
    config: RunConfig,
    space: Space,
    run: RunFolder,
    tracker: Tracker,
) -> int:
    """Train the next trial, tell the study how it went, and return the trial's number.

    Settings that do not go together, or a training that diverges, make a failed trial with its
    reason; anything else that goes wrong goes on to the caller, and the trial is run again later.

    Args:
        study: The study.
        domain: The domain.
        config: Settings of the study.
        space: What is searched.
        run: The study's folder; the trial gets `trials/<number>` in it.
        tracker: The study's run, of which the trial becomes a part.
    """
    from optuna.trial import TrialState

    trial = study.ask()
    try:
        suggest(trial, space)
        value = _trained(trial, domain, config, space, run, tracker)
    except (ConfigError, RunError) as error:
        trial.set_user_attr(REASON, str(error))
        study.tell(trial, state=TrialState.FAIL)
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        study.tell(trial, value, state=state)
        if value is not None:
            tracker.metrics({domain.monitor: value}, step=trial.number)
    return trial.number


def _trained(
    trial: optuna.Trial,
    domain: Domain,
    config: RunConfig,
    space: Space,
    run: RunFolder,
    tracker: Tracker,
) -> float | None:
    """The best of a trial's epochs; None where it was pruned."""
    import optuna

    if "keras" in sys.modules:  # the models of earlier trials
        sys.modules["keras"].utils.clear_session()
    settings = settings_of(domain, config, space, trial.params)
    folder = RunFolder(run.path / "trials" / f"{trial.number:04d}")
    folder.start(settings)
    status = "interrupted"
    try:
        with tracked_folder(domain.name, folder, parent=tracker.run_id) as own:
            own.tags({"kind": "trial", "trial.number": trial.number})
            own.parameters(settings.model_dump())

            def on_epoch(epoch: int, values: dict[str, float]) -> None:
                own.epoch(epoch, values)
                trial.report(values[domain.monitor], epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned

            try:
                result = domain.train_only(settings, folder, on_epoch)
            except optuna.TrialPruned:
                status = "pruned"
                own.tags({"trial.state": status})
                return None
            found = [row[domain.monitor] for row in result.history]
            best = max(found) if domain.monitor_mode == "max" else min(found)
            own.metrics({"best": {domain.monitor: best}})
            own.tags({"trial.state": "complete"})
            status = "finished"
            return best
    except Exception:
        status = "failed"
        raise
    finally:
        shutil.rmtree(folder.checkpoint, ignore_errors=True)
        folder.write_details(status=status)
