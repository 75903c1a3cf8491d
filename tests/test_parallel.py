"""Threads that keep the order and take little ahead."""

import threading
import time

import pytest

from ddlib._io import ordered_parallel_map


def test_in_order_keeps_order_takes_little_ahead_and_raises_in_turn():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    def work(number):
        time.sleep(0.002 * (number % 3))
        if number == 7:
            raise KeyError(number)
        return number

    results = ordered_parallel_map(work, items(), workers=2)
    assert [next(results) for _ in range(7)] == list(range(7))
    assert len(taken) <= 7 + 2 * 2 + 1
    with pytest.raises(KeyError):
        next(results)
    assert len(taken) < 20


def test_in_order_runs_at_once():
    together = threading.Barrier(2, timeout=20)
    assert (
        list(ordered_parallel_map(lambda _: together.wait() >= 0, range(4), workers=2))
        == [True] * 4
    )
