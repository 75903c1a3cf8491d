"""One thread that always works on the newest request; what was overtaken is never started.

A slider sends more positions than can be answered. Answering all of them in turn makes a picture
trail behind the hand, so a request that waits gives way to the next one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Done:
    """What came of a request: `result`, or the `error` that was raised, and the seconds it took."""

    request: Any
    result: Any
    error: Exception | None
    seconds: float


class Latest:
    """Run `work(request)` for the newest request on a thread of its own.

    Answers come in the order of their requests, so that none is older than the one before it.

    Parameters
    ----------
    work : callable
        Gets a request; only ever runs on this thread.
    deliver : callable
        Gets a `Done`; called on this thread, for every request that was started.
    pause : float
        Seconds between the first request and the start, in which a newer one may replace it.

    Examples
    --------
    >>> seen = []
    >>> worker = Latest(lambda x: x * x, lambda done: seen.append(done.result))
    >>> worker.submit(3)
    >>> worker.wait(10)
    True
    >>> seen
    [9]
    """

    def __init__(
        self, work: Callable[[Any], Any], deliver: Callable[[Done], None], pause: float = 0.01
    ):
        self._work, self._deliver, self._pause = work, deliver, pause
        self._waiting: list = []  # nothing, or the newest request
        self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.dropped = 0  # requests that were overtaken

    def submit(self, request) -> None:
        """Ask for a request; an older one that has not started is dropped."""
        with self._changed:
            self.dropped += len(self._waiting)
            self._waiting = [request]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Return True once nothing waits or runs, False when the seconds are over first."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy), timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
            time.sleep(self._pause)
            with self._changed:
                request = self._waiting.pop()
                self._busy = True
            try:
                self._deliver(self._done(request))
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _done(self, request) -> Done:
        start = time.perf_counter()
        result = error = None
        try:
            result = self._work(request)
        except Exception as raised:  # handed on: the one who asked says it
            error = raised
        return Done(request, result, error, time.perf_counter() - start)
