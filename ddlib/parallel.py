"""Work on many items in threads, in order and in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

_AHEAD = 2  # results that may wait for each worker


def in_order(work: Callable, items: Iterable, workers: int | None = None) -> Iterator:
    """Yield ``work(item)`` for each item in order, from several threads.

    Items are taken only as results are taken, so that an endless iterable needs no more memory
    than a short one. An error of `work` is raised at its item's turn.

    Examples
    --------
    >>> list(in_order(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    workers = workers or os.cpu_count() or 1
    waiting: deque = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
