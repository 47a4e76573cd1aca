"""What is understood of tracks before training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moe_apps.pipelines.trajectory.labels import crossings
from moe_apps.pipelines.trajectory.readers import read_parts
from moe_apps.pipelines.trajectory.tracks import UNKNOWN_LANE, Tracks, pieces, vehicles

RECORDINGS_SHOWN = 40


def inspect(path: Path, history: float = 3.0, horizon: float = 5.0) -> dict[str, Any]:
    """Return the facts of a file or folder: vehicles, frames, rate, lanes, lane changes, notes.

    Args:
        path: a file or folder of any format that is read.
        history: seconds a window looks back.
        horizon: seconds a window looks ahead.

    Returns:
        Facts by name; `each` has a row a recording (`long`: vehicles in view for a whole window;
        `left`, `right`: lane changes; `speed`: median, m/s); `notes` what was dropped or changed,
        and why.
    """
    parts, skipped = read_parts(path)
    rows = [row for part in parts for row in _recordings(part, history, horizon)]
    totals = pd.DataFrame(rows)
    kinds = pd.concat([_kinds(part) for part in parts]).groupby(level=0, sort=False).sum()
    widths = sorted({round(part.lane_width, 2) for part in parts if part.lane_width is not None})
    facts: dict[str, Any] = {
        "files": len(parts),
        "recordings": len(rows),
        "vehicles": int(totals["vehicles"].sum()),
        "rows": sum(map(len, parts)),
        "rate_hz": sorted({part.rate for part in parts}),
        "kinds": {str(kind): int(count) for kind, count in kinds.items()},
        "lane_width_m": widths or None,
        "lane_changes": {side: int(totals[side].sum()) for side in ("left", "right")},
        "vehicles_long_enough": int(totals["long"].sum()),
        "each": rows[:RECORDINGS_SHOWN],
    }
    notes = list(dict.fromkeys(note for part in parts for note in part.notes)) + skipped
    if len(rows) > RECORDINGS_SHOWN:
        notes.append(f"{len(rows) - RECORDINGS_SHOWN} more recordings are not shown")
    return facts | {"notes": notes + _what_is_lacking(facts, rows, history, horizon)}


def _what_is_lacking(
    facts: dict[str, Any], rows: list[dict[str, Any]], history: float, horizon: float
) -> list[str]:
    notes = []
    few = facts["vehicles"] - facts["vehicles_long_enough"]
    if few:
        notes.append(
            f"{few} of {facts['vehicles']} vehicles are never in view for {history:g} + "
            f"{horizon:g} s without a gap: no window of that history and horizon in them"
        )
    if all(row["lanes"] == 0 for row in rows):
        notes.append("lanes are unknown: there are no intentions to learn from these tracks")
    elif all(row["lanes"] <= 1 for row in rows):
        notes.append("one lane only: there are no lane changes to learn from these tracks")
    elif not sum(facts["lane_changes"].values()):
        notes.append("no vehicle changes lanes: there are no intentions to learn but keeping")
    if len(facts["rate_hz"]) > 1:
        notes.append("rates differ: for training they are brought to one")
    return notes


def _kinds(tracks: Tracks) -> pd.Series:
    """Number of vehicles of each kind."""
    table = tracks.table
    return table["kind"].groupby(vehicles(table)).first().value_counts()


def _recordings(tracks: Tracks, history: float, horizon: float) -> list[dict[str, Any]]:
    table = tracks.table
    piece = pieces(table)
    moves = crossings(tracks)
    step = np.hypot(*(np.diff(table[name].to_numpy(), prepend=np.nan) for name in ("x", "y")))
    speed = np.where(np.diff(piece, prepend=-1) == 0, step * tracks.rate, np.nan)
    needed = round((history + horizon) * tracks.rate)
    rows = []
    # Recordings are contiguous in the table.
    for name, part in table.groupby("recording", sort=False):
        own = slice(int(part.index[0]), int(part.index[-1]) + 1)
        lengths = np.bincount(piece[own] - piece[own.start])
        long = np.unique(
            part["vehicle"].to_numpy()[lengths[piece[own] - piece[own.start]] >= needed]
        )
        count = part["vehicle"].nunique()
        lanes = part["lane"][part["lane"] != UNKNOWN_LANE]
        typical = speed[own][np.isfinite(speed[own])]
        rows.append(
            {
                "recording": name,
                "vehicles": int(count),
                "seconds": float(part["time"].max() - part["time"].min()),
                "gaps": int(len(lengths) - count),
                "long": len(long),
                "lanes": int(lanes.nunique()),
                "left": int((moves[own] > 0).sum()),
                "right": int((moves[own] < 0).sum()),
                "speed": float(np.median(typical)) if len(typical) else None,
            }
        )
    return rows
