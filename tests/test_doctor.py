from __future__ import annotations

from pathlib import Path

import pytest

from moe_apps import doctor


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package with extras that are complete, missing and too old."""
    about = tmp_path / "toy_tools-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: toy-tools\nVersion: 1.0\n"
        "Requires-Dist: pytest\n"
        'Requires-Dist: pytest; extra == "have"\n'
        'Requires-Dist: no-such-package-here>=1; extra == "lack"\n'
        'Requires-Dist: pytest<1; extra == "old"\n'
        'Requires-Dist: toy-tools[have]; extra == "have-too"\n'
        'Requires-Dist: toy-tools[lack]; extra == "lack-too"\n'
        'Requires-Dist: for-other-systems; sys_platform == "plan9" and extra == "have"\n'
        "Provides-Extra: have\nProvides-Extra: lack\nProvides-Extra: old\n"
        "Provides-Extra: have-too\nProvides-Extra: lack-too\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "toy-tools"


def test_missing_extras_are_found(distribution: str) -> None:
    found = doctor.missing_by_extra(distribution)
    lacking = ["no-such-package-here>=1"]
    assert found == {
        "have": [],
        "lack": lacking,
        "old": ["pytest<1"],
        "have-too": [],
        "lack-too": lacking,
    }


def test_all_our_extras_are_known() -> None:
    extras = set(doctor.missing_by_extra())
    assert {"jax", "cuda", "samples", "test", "bench", "docs"} <= extras


def test_a_failing_check_is_a_finding() -> None:
    def fail() -> str:
        raise OSError("no\nroute")

    assert doctor._check(fail) == {"ok": False, "detail": "no route"}
    assert doctor._check(lambda: "fine") == {"ok": True, "detail": "fine"}


def test_a_tracking_store_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/nowhere/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(PermissionError, match="not writable"):
        doctor._reach_tracking_store()


def test_looking_makes_no_tracking_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    assert "made by the first run" in doctor._reach_tracking_store()
    assert list(tmp_path.iterdir()) == []


def test_examine_here() -> None:
    pytest.importorskip("tensorflow")
    found = doctor.examine()
    assert found["checks"]["xla"]["ok"], found["checks"]["xla"]
    assert found["versions"]["keras"]
    assert any(device.startswith("CPU") for device in found["devices"])
    assert 0 < found["memory"]["free"] <= found["memory"]["total"]
