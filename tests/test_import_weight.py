from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = "keras tensorflow jax mlflow pandas sklearn matplotlib scipy numpy"


@pytest.mark.parametrize("module", ["moe_apps", "moe_apps.cli", "moe_apps.registry"])
def test_importing_it_pulls_in_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print(*sys.modules.keys() & set('{HEAVY}'.split()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.split() == []


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["list"]])
def test_help_and_list_pull_in_no_model_library(command: list[str]) -> None:
    code = (
        "import sys, atexit\n"
        f"sys.argv = ['moe-apps', *{command!r}]\n"
        "heavy = lambda: sys.modules.keys() & {'keras', 'tensorflow', 'jax', 'mlflow', 'pandas'}\n"
        "atexit.register(lambda: print('loaded:', *heavy(), file=sys.stderr))\n"
        "from moe_apps.cli import main; main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[-1].strip() == "loaded:"


def test_names_are_looked_up_on_first_use() -> None:
    import moe_apps
    from moe_apps import api

    assert moe_apps.train is api.train
    assert {"train", "evaluate", "predict", "export"} <= set(dir(moe_apps))
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = moe_apps.nothing_like_it
