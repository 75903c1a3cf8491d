"""What is freed is kept where the C library can keep it."""

import subprocess
import sys

import pytest

from ddlib import _io
from ddlib._io import keep_freed_memory

# Takes and frees blocks in a thread of its own, as a loader does, and prints the page faults.
FAULTS = """
import resource, threading
from ddlib._io import keep_freed_memory

if {kept}:
    assert keep_freed_memory()

def work(times):
    for _ in range(times):
        [bytearray(1_500_000) for _ in range(4)]

work(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread = threading.Thread(target=work, args=(100,))
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kept: bool) -> int:
    told = subprocess.run(
        [sys.executable, "-c", FAULTS.format(kept=kept)], capture_output=True, text=True, check=True
    )
    return int(told.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="needs glibc")
def test_what_is_freed_is_taken_again_without_page_faults():
    assert 10 * faults(kept=True) < faults(kept=False)


def test_a_system_without_the_setting_is_left_as_it_is(monkeypatch):
    asked = keep_freed_memory.__wrapped__  # not what was kept from the first call
    monkeypatch.setattr(_io.sys, "platform", "win32")
    monkeypatch.setattr(_io.ctypes, "CDLL", None)  # would fail if it were called
    assert asked() is False
    monkeypatch.setattr(_io.sys, "platform", "linux")
    monkeypatch.setattr(_io.ctypes, "CDLL", lambda name: object())  # musl
    assert asked() is False
