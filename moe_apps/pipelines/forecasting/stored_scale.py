"""The scale of a run's covariates, kept beside its model."""

from __future__ import annotations

from moe_apps.pipelines.atomic_files import read_json, write_json
from moe_apps.pipelines.forecasting.covariates import NO_COVARIATES, Scale
from moe_apps.pipelines.run_folder import RunFolder

FILE = "covariates.json"


def store_scale(run: RunFolder, scale: Scale) -> None:
    """Write the scale, where there are covariates.

    >>> store_scale(run, data.scale)  # doctest: +SKIP
    """
    if scale.mean:
        content = {"mean": list(scale.mean), "deviation": list(scale.deviation)}
        write_json(run.path / FILE, content)


def stored_scale(run: RunFolder) -> Scale:
    """The scale that `store_scale` wrote, or one of no covariates.

    >>> stored_scale(run).mean  # doctest: +SKIP
    (0.25,)
    """
    file = run.path / FILE
    if not file.is_file():
        return NO_COVARIATES
    content = read_json(file)
    return Scale(tuple(content["mean"]), tuple(content["deviation"]))
