"""The row of small pictures in the explorer: a page of those that pass the filters."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from ddlib.viz.explorer.controls import Controls
from ddlib.viz.explorer.gallery import PAGE, picture_of, thumbnail
from ddlib.viz.explorer.latest import Done, Latest
from ddlib.viz.explorer.terms import Picture


class Strip:
    """Shows the page around a position; reads the pictures on a thread of its own.

    Parameters
    ----------
    controls : Controls
        Whose `thumbs` and `picks` are filled.
    root : Path
        Of the pictures.
    on_loop : callable
        Runs a function where controls may be set.
    """

    def __init__(self, controls: Controls, root: Path, on_loop: Callable):
        self._controls, self._root, self._on_loop = controls, root, on_loop
        self._shown: list[str] | None = None
        self.start = 0  # how many pictures are before the page
        self.reader = Latest(_thumbnails, self._read)

    def show(self, matching, position: int, marked: bool = True) -> None:
        """Show the page that holds a position, counted from 1, and mark that picture."""
        c = self._controls
        self.start = (position - 1) // PAGE * PAGE
        rows = list(matching.iloc[self.start : self.start + PAGE].itertuples())
        for place, pick in enumerate(c.picks):
            pick.layout.visibility = "visible" if place < len(rows) else "hidden"
        for place, row in enumerate(rows):
            number = self.start + place + 1
            words = f"{number}" if math.isnan(row.score) else f"{row.score:.2f}"
            c.picks[place].description = f"▶ {words}" if marked and number == position else words
            tip = f"{row.path}: {row.label}, from {row.source}"
            c.picks[place].tooltip = tip
        paths = [row.path for row in rows]
        if paths != self._shown:
            self._shown = paths
            self.reader.submit([picture_of(self._root, row) for row in rows])

    def _read(self, done: Done) -> None:
        self._on_loop(lambda: self._place([] if done.error else done.result))

    def _place(self, small: list[bytes]) -> None:
        for place, thumb in enumerate(self._controls.thumbs):
            thumb.layout.visibility = "visible" if place < len(small) else "hidden"
            if place < len(small):
                thumb.value = small[place]


def _thumbnails(page: list[Picture]) -> list[bytes]:
    return [thumbnail(picture) for picture in page]
