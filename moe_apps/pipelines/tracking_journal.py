"""What a run logs, kept in its folder, so that nothing is lost with a tracking server."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moe_apps.pipelines.atomic_files import plain

JOURNAL_FILE = "tracking.jsonl"

Entry = dict[str, Any]


class Journal:
    """Entries in the order they were logged, and which of them are still to be sent.

    Every entry carries its time, and MLflow takes one that it has already for the same one: to
    send an entry again, after a process was killed, changes nothing.

    Args:
        folder: Folder of the run, in which the entries are kept; `None` keeps them in memory, for
            as long as they are not sent.
        sent: How many of the entries in the folder are sent already.

    Attributes:
        sent: How many entries are sent.
        waiting: Those that are not.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Journal(Path(folder)).add({"kind": "tags", "values": {"a": "b"}})
        ...     list(Journal(Path(folder)).waiting)
        [{'kind': 'tags', 'values': {'a': 'b'}}]
    """

    def __init__(self, folder: Path | None = None, sent: int = 0) -> None:
        self.folder = folder
        self._file = None if folder is None else folder / JOURNAL_FILE
        # A process that was killed may have left half a line.
        self._torn = False
        entries = list(self._kept())
        self.sent = min(sent, len(entries))
        self.waiting = deque(entries[self.sent :])

    def add(self, entry: Entry) -> None:
        """Keep an entry; raises `OSError` when the file cannot be written."""
        cleaned = plain(entry)
        self.waiting.append(cleaned)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(("\n" if self._torn else "") + json.dumps(cleaned) + "\n")
            self._torn = False

    def acknowledge(self) -> None:
        """The first waiting entry is sent."""
        self.waiting.popleft()
        self.sent += 1

    def rewind(self) -> None:
        """All entries are to be sent, to a run that knows none of them."""
        if self._file is not None:
            self.waiting = deque(self._kept())
            self.sent = 0

    def _kept(self) -> Iterator[Entry]:
        if self._file is None or not self._file.is_file():
            return
        with self._file.open(encoding="utf-8") as lines:
            for line in lines:
                self._torn = not line.endswith("\n")
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict) and "kind" in entry:
                    yield entry
