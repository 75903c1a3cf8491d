"""Whether somebody sits in front of a notebook who could move a control."""

from __future__ import annotations


def headless() -> bool:
    """Return whether a program runs this cell: those that run it for a person allow questions."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return True
    return not kernel.get_parent("shell").get("content", {}).get("allow_stdin", False)
