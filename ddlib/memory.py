"""Keep freed memory for the next array instead of handing it back to the system.

The C library of most Linux systems returns large freed blocks at once, and each page that is asked
for again costs a fault: on virtual machines several microseconds for 4 kB. Training, preparing and
simulating pictures take and free arrays of the same sizes all the time.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache

_MEGABYTE = 1 << 20
# Numbers of mallopt's parameters in glibc's malloc.h, and what they are set to.
_SETTINGS = {
    -1: 256 * _MEGABYTE,  # M_TRIM_THRESHOLD: free memory at the end of the heap that is kept
    -2: 64 * _MEGABYTE,  # M_TOP_PAD: and of the heap of each thread
    -3: 32 * _MEGABYTE,  # M_MMAP_THRESHOLD: blocks below it come from a heap; the most it allows
}


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let this process keep what it frees, up to 256 MB; return whether the C library can.

    Only glibc has the setting. Elsewhere nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt")):
        return False
    taken = [libc.mallopt(name, value) for name, value in _SETTINGS.items()]
    return all(taken)
