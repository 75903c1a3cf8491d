"""The names of data tiers: the simulation, or a folder of images."""

from __future__ import annotations

import re
from pathlib import Path


def tier_name(data: str | Path, small: bool = False) -> str:
    """Return the name of the folder under ``runs`` that holds what is made from some data.

    Examples
    --------
    >>> tier_name("toy", small=True), tier_name("My Faces (v2)")
    ('toy-small', 'real-my-faces-v2')
    """
    tier = "toy"
    if str(data) != "toy":
        words = re.sub(r"[^a-z0-9]+", "-", Path(data).resolve().name.lower()).strip("-")
        tier = f"real-{words}"
    return f"{tier}-small" if small else tier


def is_toy(tier: str) -> bool:
    """Whether a tier's name is that of the simulation."""
    return tier.startswith("toy")
