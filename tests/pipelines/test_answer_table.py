from __future__ import annotations

import pandas as pd
import pytest

from moe_apps.errors import ConfigError
from moe_apps.pipelines.answer_table import check_writable, write_table

TABLE = pd.DataFrame({"series": ["a", "b"], "forecast": [1.5, -2.0]})


@pytest.mark.parametrize(
    "name, read",
    [("a.csv", pd.read_csv), ("a.parquet", pd.read_parquet), ("a.pq", pd.read_parquet)],
)
def test_the_suffix_says_what_is_written(tmp_path, name, read):
    check_writable(tmp_path / name)
    write_table(TABLE, tmp_path / name)
    pd.testing.assert_frame_equal(read(tmp_path / name), TABLE)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("place", [".", "missing/a.csv"])
def test_a_place_where_no_file_can_be_is_refused(tmp_path, place):
    with pytest.raises(ConfigError, match="is no file that can be written; its folder must exist"):
        check_writable(tmp_path / place)
