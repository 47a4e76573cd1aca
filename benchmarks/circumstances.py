"""Where and with what a figure was measured, and the file it is written to."""

from __future__ import annotations

import csv
import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras

CODE = ("../moe_apps", ".", ":(exclude)results")
"""What is measured and measures, from this folder; results change while they are written."""


def circumstances() -> dict[str, str]:
    """Hardware, versions, kind of memory pages, date and commit, the same on every row."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    packages = ("keras", keras.backend.backend(), "keras-hub", "torch", "transformers")
    huge_pages = "hugetlb=1" in os.environ.get("GLIBC_TUNABLES", "")
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "versions": " ".join(f"{name} {_installed(name)}" for name in packages),
        "memory": "huge pages" if huge_pages else "small pages",
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
    }


def commit() -> str:
    """The commit that is checked out, with a plus where the code differs from it.

    It begins with a g, as in `git describe`: a table would take some commits for numbers.
    """
    here = Path(__file__).parent
    try:
        head, changes = (
            subprocess.run(
                ["git", *command], cwd=here, check=True, capture_output=True, text=True
            ).stdout.strip()
            for command in (
                ["rev-parse", "--short=10", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no", "--", *CODE],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"g{head}+" if changes else f"g{head}"


def write(rows: list[dict[str, Any]], output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
