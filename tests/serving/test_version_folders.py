"""Without TensorFlow: how folders of versions appear, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from moe_apps.errors import RunError
from moe_apps.serving.version_folders import TEMPORARY, difference, digests, publish, versions

SLOW_WRITER = """
import sys, time
from pathlib import Path
from moe_apps.serving.version_folders import publish

def write(folder):
    (folder / "saved_model.pb").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)

publish(Path(sys.argv[1]), None, write, lambda folder, number: None)
"""


def write(folder: Path) -> None:
    (folder / "a.txt").write_text("all of it")


def finish(folder: Path, number: int) -> None:
    (folder / "number").write_text(str(number))


@pytest.mark.parametrize("version", [None, 4])
def test_two_exporters_race(tmp_path: Path, version: int | None) -> None:
    both_written = threading.Barrier(2)
    results: list[Path | RunError] = []

    def export(text: str) -> None:
        def slow(folder: Path) -> None:
            (folder / "a.txt").write_text(text)
            both_written.wait(10)

        try:
            results.append(publish(tmp_path, version, slow, finish))
        except RunError as error:
            results.append(error)

    threads = [threading.Thread(target=export, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folders = [result for result in results if isinstance(result, Path)]
    errors = [result for result in results if isinstance(result, RunError)]
    if version is None:  # each gets a number of its own
        assert {folder.name for folder in folders} == {"1", "2"}
        assert {(f / "a.txt").read_text() for f in folders} == {"one", "two"}
    else:
        assert [folder.name for folder in folders] == ["4"]
        assert "exists already; versions are never overwritten" in str(errors[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f.name for f in folders)
    for folder in folders:
        assert (folder / "number").read_text() == folder.name


def test_an_empty_folder_of_that_number_is_not_replaced(tmp_path: Path) -> None:
    def meanwhile(folder: Path) -> None:
        write(folder)
        (tmp_path / "1").mkdir()

    with pytest.raises(RunError, match="exists already"):
        publish(tmp_path, 1, meanwhile, finish)
    assert list((tmp_path / "1").iterdir()) == []


def test_killed_during_export_leaves_no_version_and_is_cleaned_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW_WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as exporter:
        assert exporter.stdout is not None
        assert exporter.stdout.readline() == "writing\n"
        [half] = tmp_path.glob(f"{TEMPORARY}*")
        assert publish(tmp_path, None, write, finish).name == "1"
        assert half.is_dir(), "the folder of an exporter that lives is left alone"
        exporter.send_signal(signal.SIGKILL)
    assert versions(tmp_path) == [1]
    assert publish(tmp_path, None, write, finish).name == "2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:

        def too_much(folder: Path) -> None:
            (folder / "saved_model.pb").write_bytes(bytes(2**20))

        assert publish(small, None, write, finish).name == "1"
        with pytest.raises(RunError, match="small: cannot be written: No space left on device"):
            publish(small, None, too_much, finish)
        assert sorted(path.name for path in small.iterdir()) == ["1"]
        assert (small / "1" / "a.txt").read_text() == "all of it"
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_digests_tell_what_is_missing_or_changed(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "data").write_bytes(bytes(1000))
    before = digests(tmp_path)
    assert before.keys() == {"a.txt", "variables/data"}
    (tmp_path / "more").touch()
    assert difference(tmp_path, before) is None
    os.truncate(tmp_path / "variables" / "data", 999)
    expected = "variables/data is not what was exported (999 bytes found)"
    assert difference(tmp_path, before) == expected
    (tmp_path / "variables" / "data").unlink()
    assert difference(tmp_path, before) == "variables/data is missing"


def test_a_server_run_by_another_user_may_read(tmp_path: Path) -> None:
    folder = publish(tmp_path, None, write, finish)
    assert folder.stat().st_mode & 0o755 == 0o755
    assert time.time() - folder.stat().st_mtime < 60
