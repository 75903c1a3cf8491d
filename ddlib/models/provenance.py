"""Where a number comes from: versions, machine, commit, memory."""

import datetime
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ddlib import __version__
from ddlib._utils import cpu_count

PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "pandas", "scikit-learn")


def provenance() -> dict:
    """Return the facts about this process that a reader needs to judge or repeat a number."""
    return {
        "python": platform.python_version(),
        "packages": {"ddlib": __version__} | {name: _version(name) for name in PACKAGES},
        "commit": commit(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "peak_memory_mb": peak_memory_mb(),
    }


def machine() -> str:
    """Return the processor, the number of cores, the system and the GPUs in one line."""
    facts = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows the name
    named = facts.is_file() and re.search(r"model name\s*: (.*)", facts.read_text())
    processor = named[1] if named else platform.processor() or "unknown processor"
    facts = [processor, f"{cpu_count()} cores", f"{platform.system()} {platform.machine()}"]
    return ", ".join([*facts, *gpus()])


def gpus() -> list[str]:
    """Return the names of the GPUs that this process uses: none before TensorFlow is loaded."""
    if "tensorflow" not in sys.modules:
        return []
    config = sys.modules["tensorflow"].config
    found = config.list_physical_devices("GPU")
    return [
        config.experimental.get_device_details(each).get("device_name", "GPU") for each in found
    ]


def commit() -> str | None:
    """Return the commit ddlib runs from ("+" if files are changed), or None outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    describe = ["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    try:
        run = subprocess.run([*git, *describe], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or not a checkout
        return None
    return run.stdout.strip()


def checkout() -> Path | None:
    """Return the folder of the repository that ddlib runs from, or None if it is installed."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "notebooks").is_dir() else None


def repository_path(name: str) -> Path:
    """Return a file or folder of the repository that the wheel holds as well, inside `ddlib`."""
    return (checkout() or Path(__file__).resolve().parents[1]) / name


def peak_memory_mb() -> int:
    """Return the largest resident memory of this process so far in megabytes (10^6 bytes)."""
    status = Path("/proc/self/status")  # Linux; getrusage there begins with the parent's peak
    found = status.is_file() and re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    if found:
        return round(int(found[1]) * 1024 / 1e6)
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
    except PackageNotFoundError:  # such as TensorFlow's, where tensorflow-cpu is installed
        return None
