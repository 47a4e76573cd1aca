"""Scales a split panel on its training rows and indexes its windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import StandardScaler

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.forecasting.covariates import NO_COVARIATES, Scale, fitted_scale, known_rows
from moe_apps.pipelines.forecasting.panel import Notes, Panel, Series
from moe_apps.pipelines.forecasting.splits import Split, split

__all__ = ["Batch", "Split", "WindowedPanel", "Windows", "make_windows", "split"]


class Batch(NamedTuple):
    """Windows as arrays: history `[n, look_back]`, target `[n, horizon]`, series `[n]`.

    Values are scaled float32; the two masks are True where a value was observed. `known`
    `[n, look_back + horizon, features]` float32 is what is known beforehand of every row.
    """

    history: npt.NDArray[np.float32]
    history_observed: npt.NDArray[np.bool_]
    target: npt.NDArray[np.float32]
    target_observed: npt.NDArray[np.bool_]
    series: npt.NDArray[np.int32]
    known: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """An index of windows over all series laid end to end; windows are cut only when asked for.

    A window is `look_back + horizon` rows of one series. Its memory is 12 bytes; the values are
    shared by all windows of all splits, and a `tf.data` pipeline can gather from them as well.

    Attributes:
        values: float32 `[rows of all series]`, scaled.
        observed: bool `[rows of all series]`.
        starts: int64 `[windows]`, where in `values` a window's history begins.
        series_index: int32 `[windows]`, the series that a window is of.
        offsets: int64 `[series]`, where in `values` a series begins.
        left_out: windows that were not made because their history would begin before the series.
        known: float32 `[rows of all series, features]`, known beforehand; None for nothing.
        past: features of `known` that are known up to a window's origin only; 0 after it.

    >>> flat = np.arange(6, dtype=np.float32)
    >>> index = Windows(flat, flat >= 0, np.array([0, 1]), np.zeros(2, np.int32), np.zeros(1), 3, 2)
    >>> index.gather(np.array([1])).target.tolist()
    [[4.0, 5.0]]
    """

    values: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]
    series_index: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    look_back: int
    horizon: int
    left_out: int = 0
    known: npt.NDArray[np.float32] | None = None
    past: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.starts)

    def gather(self, indices: npt.NDArray[np.integer]) -> Batch:
        """Cut the windows of these indices `[n]`."""
        rows = self.starts[indices, None] + np.arange(self.look_back + self.horizon)
        values, observed = self.values[rows], self.observed[rows]  # [n, look_back + horizon]
        cut = self.look_back
        known = np.zeros((*rows.shape, 0), np.float32) if self.known is None else self.known[rows]
        known[:, cut:, list(self.past)] = 0
        return Batch(
            values[:, :cut],
            observed[:, :cut],
            values[:, cut:],
            observed[:, cut:],
            self.series_index[indices],
            known,
        )

    def batches(self, size: int = 1024) -> Iterator[Batch]:
        """All windows in order, `size` at a time, the last batch with what is left."""
        return self.of(np.arange(len(self)), size)

    def of(self, indices: npt.NDArray[np.integer], size: int = 1024) -> Iterator[Batch]:
        """The windows of these indices, `size` at a time."""
        for start in range(0, len(indices), size):
            yield self.gather(indices[start : start + size])

    def target_rows(self, indices: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Row within its series of each window's first target, `[n]`; for its time stamp."""
        return self.starts[indices] - self.offsets[self.series_index[indices]] + self.look_back


@dataclass(frozen=True)
class WindowedPanel:
    """A split, scaled panel and the windows of its three parts.

    Attributes:
        panel: the series that were kept.
        splits: their row ranges.
        mean, std: float64 `[series]`, of the observed training rows; std is 1 where it would be 0.
        train, validation, test: the windows whose targets lie in that part.
        notes: series and windows that were left out, and why.
        scale: of the covariates.
    """

    panel: Panel
    splits: tuple[Split, ...]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    train: Windows
    validation: Windows
    test: Windows
    notes: tuple[str, ...]
    scale: Scale = NO_COVARIATES

    @property
    def known_features(self) -> int:
        """Features known beforehand of every row."""
        return 0 if self.train.known is None else self.train.known.shape[1]

    def unscale(
        self, values: npt.NDArray[np.floating], series: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.float64]:
        """Scaled values `[n, steps]` of the series with index `[n]` in the file's own units."""
        return values * self.std[series, None] + self.mean[series, None]


def make_windows(
    panel: Panel,
    splits: tuple[Split, ...],
    look_back: int,
    horizon: int,
    *,
    stride: int = 1,
    evaluation_stride: int = 1,
    calendar: bool = False,
    tested: bool = True,
    past: tuple[int, ...] = (),
    scale: Scale | None = None,
) -> WindowedPanel:
    """Scale every series by its training rows and index the windows of each split.

    A window belongs to the split that holds all of its targets; its history may reach back into
    the split before. A split of n rows so has n - horizon + 1 windows (at stride 1), less those
    whose history would begin before the series does: the first `look_back` of training.

    Args:
        panel, splits: the series and, in the same order, their row ranges.
        look_back, horizon: rows of history and of target in a window.
        stride: rows from one training window to the next.
        evaluation_stride: the same for validation and test; benchmarks use 1.
        calendar: put `calendar_features` of every row into `Windows.known`.
        tested: whether there have to be test windows.
        past: features of `Windows.known` that are known up to an origin only.
        scale: of the covariates; None, or one of other columns, fits it to the training rows.

    Raises:
        ConfigError: a length or stride under 1.
        DataError: no series has a training window, or no window is left in a split.

    >>> series = Series("a", 0, np.arange(100.0), np.ones(100, bool))
    >>> panel = Panel((series,), None)
    >>> data = make_windows(panel, split(panel), look_back=16, horizon=4)
    >>> len(data.train), len(data.validation), len(data.test)
    (51, 7, 17)
    """
    for name, value in (
        ("look_back", look_back),
        ("horizon", horizon),
        ("stride", stride),
        ("evaluation_stride", evaluation_stride),
    ):
        if value < 1:
            raise ConfigError(f"{name} is {value}, expected a whole number of at least 1")
    kept = [i for i, one in enumerate(splits) if _usable(panel.series[i], one, look_back + horizon)]
    if not kept:
        raise _too_short(panel, splits, look_back, horizon)
    notes = Notes()
    for i in sorted({*range(len(splits))} - {*kept}):
        notes.add("series skipped, too short or empty for training", panel.series[i].name)
    panel = replace(panel, series=tuple(panel.series[i] for i in kept))
    splits = tuple(splits[i] for i in kept)

    scalers = [_scaler(s, one.train) for s, one in zip(panel.series, splits, strict=True)]
    mean, std = np.array(scalers).T
    scaled = [(s.values - m) / d for s, m, d in zip(panel.series, mean, std, strict=True)]
    values = np.concatenate(scaled).astype(np.float32)
    observed = np.concatenate([series.observed for series in panel.series])
    offsets = np.cumsum([0, *map(len, panel.series)])[:-1]
    if scale is None or len(scale.mean) != len(panel.covariates):
        pairs = zip(panel.series, splits, strict=True)
        parts = [s.covariates[one.train.start : one.train.stop] for s, one in pairs
                 if s.covariates is not None]  # fmt: skip
        scale = fitted_scale(parts) if parts else NO_COVARIATES
    known = None
    if calendar or panel.covariates:
        rows = [known_rows(panel, s, len(s), calendar=calendar, scale=scale) for s in panel.series]
        known = np.concatenate(rows)
        known = known if known.shape[1] else None

    windows = {}
    for part in ("train", "validation", "test"):
        every = stride if part == "train" else evaluation_stride
        ranges = [getattr(one, part) for one in splits]
        starts, series_index, left_out = _index(ranges, offsets, look_back, horizon, every)
        if not len(starts) and (tested or part != "test"):
            longest = max(map(len, ranges))
            raise DataError(
                f"no {part} window: the longest {part} part has {longest} rows, look-back "
                f"{look_back} and horizon {horizon} do not fit; lower them or change the split"
            )
        notes.add("windows left out, their history would begin before the series", part, left_out)
        windows[part] = Windows(
            values,
            observed,
            starts,
            series_index,
            offsets,
            look_back,
            horizon,
            left_out,
            known,
            past,
        )
    return WindowedPanel(panel, splits, mean, std, **windows, notes=notes.lines(), scale=scale)


def _usable(series: Series, rows: Split, needed: int) -> bool:
    if rows.test.stop > len(series):
        raise DataError(f"series '{series.name}' has {len(series)} rows, its split asks for more")
    seen = series.observed[rows.train.start : rows.train.stop]
    return len(rows.train) >= needed and bool(seen.any())


def _too_short(panel: Panel, splits: tuple[Split, ...], look_back: int, horizon: int) -> DataError:
    longest = max(range(len(splits)), key=lambda i: len(splits[i].train))
    series, rows = panel.series[longest], len(splits[longest].train)
    room = rows - horizon
    if room >= look_back:
        return DataError(f"no value is observed in the training rows ('{series.name}' and others)")
    advice = f"a look-back of at most {room} fits" if room > 0 else "lower the horizon too"
    return DataError(
        f"no series has the {look_back + horizon} training rows of look-back {look_back} + horizon "
        f"{horizon}: the longest, '{series.name}', has {rows} (of {len(series)} rows); {advice}"
    )


def _scaler(series: Series, rows: range) -> tuple[float, float]:
    cut = slice(rows.start, rows.stop)
    scaler = StandardScaler().fit(series.values[cut][series.observed[cut], None])
    return float(scaler.mean_[0]), float(scaler.scale_[0])


def _index(
    ranges: list[range], offsets: npt.NDArray[np.int64], look_back: int, horizon: int, stride: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], int]:
    starts, left_out = [], 0
    for rows, offset in zip(ranges, offsets, strict=True):
        targets = np.arange(rows.start, rows.stop - horizon + 1, stride)
        full = targets[targets >= look_back]
        left_out += len(targets) - len(full)
        starts.append(full - look_back + offset)
    series_index = np.repeat(np.arange(len(starts), dtype=np.int32), [len(s) for s in starts])
    return np.concatenate(starts).astype(np.int64), series_index, left_out
