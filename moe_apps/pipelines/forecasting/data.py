"""From data settings to windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moe_apps.pipelines.content_digest import content_digest
from moe_apps.pipelines.forecasting.baselines import season_of
from moe_apps.pipelines.forecasting.calendar import cycles_of
from moe_apps.pipelines.forecasting.config import DataSettings, ForecastingConfig
from moe_apps.pipelines.forecasting.covariates import Scale, with_holidays
from moe_apps.pipelines.forecasting.panel import Panel
from moe_apps.pipelines.forecasting.readers import read_panel
from moe_apps.pipelines.forecasting.sample_data import sample_panel
from moe_apps.pipelines.forecasting.windows import WindowedPanel, make_windows, split


def read_data(settings: DataSettings, path: str | Path | None = None) -> Panel:
    """The panel of the settings' file, of another file read the same way, or of the sample data."""
    path = path or settings.path
    panel = sample_panel() if path is None else _read(settings, path)
    if settings.holidays is not None:
        panel = with_holidays(panel, settings.holidays, settings.horizon)
    return panel


def past_features(settings: DataSettings, panel: Panel) -> tuple[int, ...]:
    """Which features of `Windows.known` are known up to an origin only."""
    marks = 2 * len(cycles_of(panel.step)) if settings.calendar else 0
    names = panel.covariates
    return tuple(marks + names.index(column) for column in settings.past_columns)


def _read(settings: DataSettings, path: str | Path) -> Panel:
    return read_panel(
        path,
        time_column=settings.time_column,
        id_columns=settings.id_columns,
        value_columns=settings.value_columns,
        frequency=settings.frequency,
        covariates=settings.covariates,
        blank_ahead=(*settings.past_columns, *settings.static_columns),
    )


def inspect(path: Path) -> dict[str, Any]:
    """What is understood of a file: its series, their time step, length and gaps."""
    panel = read_data(DataSettings(), path)
    return {
        "series": len(panel.series),
        "time_step": None if panel.step is None else panel.step.freqstr,
        "usual_season": season_of(panel.step),
        "each": [
            {
                "series": series.name,
                "rows": len(series),
                "first": str(series.start),
                "filled": int((~series.observed).sum()),
                "smallest": float(series.values.min()),
                "largest": float(series.values.max()),
            }
            for series in panel.series
        ],
        "notes": list(panel.notes),
    }


def windowed_data(
    config: ForecastingConfig, path: str | Path | None = None, scale: Scale | None = None
) -> WindowedPanel:
    """The data of a configuration, split, scaled and indexed.

    Args:
        config: the settings.
        path: another file than theirs.
        scale: of the covariates, for a model that was trained with it; None fits it.
    """
    settings = config.data
    panel = read_data(settings, path)
    splits = split(
        panel,
        settings.protocol,
        train_fraction=settings.train_fraction,
        test_fraction=settings.test_fraction,
    )
    return make_windows(
        panel,
        splits,
        settings.look_back,
        settings.horizon,
        stride=settings.stride,
        evaluation_stride=config.evaluation.stride,
        calendar=settings.calendar,
        past=past_features(settings, panel),
        scale=scale,
    )


def season(config: ForecastingConfig, panel: Panel) -> int:
    """The season of the settings, or the usual one of the panel's time step."""
    return config.data.season or season_of(panel.step)


def describe_data(data: WindowedPanel, config: ForecastingConfig, source: str) -> dict[str, Any]:
    """What the data were, for `metrics.json`: digest, sizes, protocol, notes."""
    settings = config.data
    step = data.panel.step
    return {
        "source": source,
        "digest": data.panel.digest(),
        "test_digest": _test_digest(data),
        "series": len(data.panel.series),
        "rows": sum(map(len, data.panel.series)),
        "step": None if step is None else step.freqstr,
        "protocol": settings.protocol,
        "look_back": settings.look_back,
        "horizon": settings.horizon,
        "season": season(config, data.panel),
        "windows": {part: len(getattr(data, part)) for part in ("train", "validation", "test")},
        "notes": [*data.panel.notes, *data.notes],
    }


def _test_digest(data: WindowedPanel) -> str:
    """Of the targets and their scale, the same for every look-back."""
    test = data.test
    targets = test.starts + test.look_back
    return content_digest(targets, test.horizon, test.values, test.observed, data.mean, data.std)
