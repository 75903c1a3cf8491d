"""Where a number comes from: versions, machine, commit, memory."""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ddlib._io import cpu_count

PACKAGES = ("ddlib", "tensorflow", "keras", "numpy", "pillow", "pandas", "scikit-learn")


def provenance() -> dict:
    """Return the facts about this process that a reader needs to judge or repeat a number."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": commit(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "peak_memory_mb": peak_memory_mb(),
    }


def machine() -> str:
    """Return the processor, the number of cores and the system in one line."""
    return f"{_processor()}, {cpu_count()} cores, {platform.system()} {platform.machine()}"


def commit() -> str | None:
    """Return the commit ddlib runs from ("+" if files are changed), or None outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or not a checkout
        return None
    return head + ("+" if changed else "")


def peak_memory_mb() -> int | None:
    """Return the largest resident memory of this process so far in megabytes (10^6 bytes)."""
    status = Path("/proc/self/status")  # Linux; getrusage there begins with the parent's peak
    told = status.is_file() and re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    if told:
        return round(int(told[1]) * 1024 / 1e6)
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return round(psutil.Process().memory_info().peak_wset / 1e6)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def checkout() -> Path | None:
    """Return the folder of the repository that ddlib runs from, or None if it is installed."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "notebooks").is_dir() else None
