"""Runs requests on a model: those that wait at the same time together, where that is possible.

Nothing waits for others to come: what has queued up while the model was busy goes in next. So a
lone caller loses nothing, and many callers share what a run costs. Where a row takes long, as an
image does, there is little to share, and few go together: each would wait for all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from moe_apps.serving.server.loaded_model import LoadedModel
from moe_apps.serving.server.signature import Signature
from moe_apps.serving.server.status import Code, StatusError

LOG = logging.getLogger("moe_apps.serving")
MOST_SECONDS = 0.5
"""Of a run of several requests, as far as the runs before it tell."""


@dataclass
class Task:
    """One request: what `LoadedModel.run` takes, when it must be answered, and its answer."""

    model: LoadedModel
    signature: Signature
    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]
    deadline: float
    answer: Future[dict[str, np.ndarray]] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.rows = self._rows()
        self.kind = self._kind()

    def _rows(self) -> int:
        """Rows if the request can join others, else 0."""
        if not self.signature.takes_rows:
            return 0
        counts = {len(array) for array in self.inputs.values() if array.ndim}
        return counts.pop() if len(counts) == 1 else 0

    def _kind(self) -> Any:
        """What requests that can be put together have in common."""
        if not self.rows:
            return None
        inputs = tuple(
            (name, array.shape[1:]) if array.ndim else (name, array.tobytes())
            for name, array in self.inputs.items()
        )
        return id(self.model), self.signature.name, self.outputs, inputs


class Batching:
    """Threads that run requests; used as a context manager.

    Args:
        threads: runs at one time.
        max_rows: rows of one run at most; 1 puts nothing together.
        max_waiting: requests that may wait; more are refused with UNAVAILABLE.
        seen: called with the rows and the number of requests of each run.
    """

    def __init__(
        self, *, threads: int, max_rows: int, max_waiting: int, seen: Any = lambda *_: None
    ) -> None:
        self._max_rows, self._max_waiting, self._seen = max_rows, max_waiting, seen
        self._waiting: deque[Task] = deque()
        self._row_seconds: WeakKeyDictionary[LoadedModel, dict[str, float]] = WeakKeyDictionary()
        self._some = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"run-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task) -> Future[dict[str, np.ndarray]]:
        """Queue a request; the model stays in memory until it is answered.

        Raises:
            StatusError: UNAVAILABLE when too many wait, or the server stops.
        """
        with self._some:
            if self._closing or len(self._waiting) >= self._max_waiting:
                why = "the server stops" if self._closing else "the queue of requests is full"
                raise StatusError(Code.UNAVAILABLE, why)
            task.model.hold()
            self._waiting.append(task)
            self._some.notify()
        return task.answer

    @property
    def waiting(self) -> int:
        """Requests that no thread has taken yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Answer what waits, then end the threads."""
        with self._some:
            self._closing = True
            self._some.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while tasks := self._next():
            try:
                self._answer(tasks)
            except BaseException:  # a thread that ends would leave callers waiting for ever
                LOG.exception("a run failed")
                for task in tasks:
                    _fail(task, StatusError(Code.INTERNAL, "the run failed"))
            finally:
                for task in tasks:
                    task.model.release()

    def _next(self) -> list[Task]:
        """The oldest request and those that can join it; none when it is time to end."""
        with self._some:
            while not self._waiting:
                if self._closing:
                    return []
                self._some.wait()
            first = self._waiting.popleft()
            tasks, rows = [first], first.rows
            most = self._most_rows(first)
            if first.kind is None or rows >= most:
                return tasks
            kept: deque[Task] = deque()
            for task in self._waiting:
                if task.kind == first.kind and rows + task.rows <= most:
                    tasks.append(task)
                    rows += task.rows
                else:
                    kept.append(task)
            self._waiting = kept
            return tasks

    def _most_rows(self, task: Task) -> int:
        seconds = self._row_seconds.get(task.model, {}).get(task.signature.name)
        return self._max_rows if not seconds else min(self._max_rows, int(MOST_SECONDS / seconds))

    def _answer(self, tasks: list[Task]) -> None:
        # A caller that has gone away is not answered any more.
        tasks = [task for task in tasks if task.answer.set_running_or_notify_cancel()]
        now = time.monotonic()
        late = [task for task in tasks if task.deadline <= now]
        for task in late:
            _fail(task, StatusError(Code.DEADLINE_EXCEEDED, "the request waited for too long"))
        tasks = [task for task in tasks if task.deadline > now]
        if len(tasks) > 1 and self._together(tasks):
            return
        for task in tasks:
            self._seen(task.rows, 1)
            try:
                values = self._run(task, task.inputs, task.rows, task.deadline)
            except StatusError as error:
                _fail(task, error)
            else:
                task.answer.set_result(values)

    def _together(self, tasks: list[Task]) -> bool:
        """Answer all in one run; no if that fails, since only one of them may be at fault."""
        first, total = tasks[0], sum(task.rows for task in tasks)
        inputs = {
            name: np.concatenate([task.inputs[name] for task in tasks]) if array.ndim else array
            for name, array in first.inputs.items()
        }
        try:
            values = self._run(first, inputs, total, max(task.deadline for task in tasks))
        except StatusError:
            return False
        if any(len(array) != total for array in values.values()):
            return False
        self._seen(total, len(tasks))
        ends = np.cumsum([task.rows for task in tasks])
        for task, end in zip(tasks, ends, strict=True):
            task.answer.set_result(
                {name: array[end - task.rows : end] for name, array in values.items()}
            )
        return True

    def _run(
        self, task: Task, inputs: Mapping[str, np.ndarray], rows: int, deadline: float
    ) -> dict[str, np.ndarray]:
        started = time.monotonic()
        values = task.model.run(task.signature, inputs, task.outputs, deadline - started)
        if rows:
            own = (time.monotonic() - started) / rows
            known = self._row_seconds.setdefault(task.model, {})
            known[task.signature.name] = (known.get(task.signature.name, own) + own) / 2
        return values


def _fail(task: Task, error: StatusError) -> None:
    if not task.answer.done():
        task.answer.set_exception(error)
