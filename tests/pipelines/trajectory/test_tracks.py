from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.tracks import Tracks, check, concatenate, pieces, vehicles


def _tracks(**columns: object) -> Tracks:
    given = {"vehicle": [2, 1, 1, 1], "frame": [4, 6, 5, 9], "x": [0.0, 2.0, 1.0, 3.0]}
    return Tracks.of({**given, **columns}, rate=5, source="made.csv")


def test_rows_are_sorted_and_unknown_columns_filled() -> None:
    table = _tracks().table
    assert table[["vehicle", "frame"]].values.tolist() == [[1, 5], [1, 6], [1, 9], [2, 4]]
    assert table["time"].tolist() == [1.0, 1.2, 1.8, 0.8]
    assert table["x"].tolist() == [1.0, 2.0, 3.0, 0.0]
    assert (table["lane"] == -1).all() and table["width"].isna().all()
    assert table["kind"].unique().tolist() == ["unknown"]
    assert table.dtypes[["vehicle", "frame", "lane"]].eq(np.int64).all()


def test_pieces_end_at_a_missing_frame_and_vehicles_do_not() -> None:
    table = _tracks(recording=["a", "a", "a", "a"]).table
    assert pieces(table).tolist() == [0, 0, 1, 2]
    assert vehicles(table).tolist() == [0, 0, 0, 1]
    # The same number in another recording is another vehicle, though its frames go on.
    table = _tracks(vehicle=1, recording=["b", "a", "a", "a"], frame=[10, 6, 5, 9]).table
    assert vehicles(table).tolist() == [0, 0, 0, 1] and pieces(table).tolist() == [0, 0, 1, 2]


def test_rows_that_cannot_be_used_are_named() -> None:
    with pytest.raises(DataError, match=r"made.csv: vehicle 1, frame 5: x is no finite number"):
        _tracks(x=[0, 1, np.nan, 2])
    with pytest.raises(DataError, match=r"recording r, vehicle 1, frame 6: two rows for one"):
        _tracks(frame=[4, 6, 6, 9], recording="r")
    with pytest.raises(DataError, match="no tracks in it"):
        Tracks.of({"vehicle": [], "frame": [], "x": []}, rate=10)
    with pytest.raises(DataError, match="rate of 0"):
        check(Tracks(_tracks().table, 0.0))


def test_a_table_out_of_order_is_refused() -> None:
    table = _tracks().table
    for rows in ([1, 0, 2, 3], [0, 1, 3, 2]):
        with pytest.raises(DataError, match="not sorted"):
            check(Tracks(table.iloc[rows].reset_index(drop=True), 5))
    with pytest.raises(DataError, match="not numbered"):
        check(Tracks(table.iloc[1:], 5))
    with pytest.raises(DataError, match="no column 'lane'"):
        check(Tracks(table.drop(columns="lane"), 5))


def test_concatenate_keeps_recordings_apart() -> None:
    one = _tracks(recording="a").with_notes("2 rows dropped")
    joined = concatenate([one, one, _tracks(recording="b")], "folder")
    assert joined.table["recording"].value_counts().to_dict() == {"a": 4, "a (2)": 4, "b": 4}
    assert joined.notes == ("2 rows dropped",) and joined.source == "folder"
    assert len(np.unique(vehicles(joined.table))) == 6
    with pytest.raises(DataError, match="tracks at 5 and 10 Hz"):
        concatenate([one, Tracks.of(one.table, 10)])


def test_only_keeps_rows_and_numbers_them_anew() -> None:
    tracks = _tracks()
    kept = tracks.only((tracks.table["vehicle"] == 1).to_numpy(), "one vehicle dropped")
    check(kept)
    assert len(kept) == 3 and kept.notes == ("one vehicle dropped",)
    assert isinstance(kept.table.index, pd.RangeIndex)
