from __future__ import annotations

import subprocess
from pathlib import Path

import keras

from moe_apps.pipelines.environment import describe_environment, full_environment, git_state


def test_versions_and_hardware_are_named():
    found = describe_environment()
    assert found["keras"] == keras.__version__
    assert found["Devices"].startswith("cpu:0")
    assert found["Memory"].endswith(" GiB") and "cores" in found["Processor"]
    assert all(isinstance(value, str) and value for value in found.values())


def test_the_code_and_all_packages_are_named(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True
        )

    git("init")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-m", "first")
    found = git_state(tmp_path)
    assert found is not None and len(found["commit"]) == 40 and found["changed"] is False
    (tmp_path / "a.py").write_text("2")
    assert git_state(tmp_path) == {**found, "changed": True}
    full = full_environment()
    assert full["packages"]["keras"] == keras.__version__
    assert full["environment"] == describe_environment()
