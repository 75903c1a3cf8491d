"""The field that takes a picture of one's own: drop a file on it, or press it to choose one.

ipywidgets has a button for files, but it takes no dropped ones; what the browser does here is in
``drop.js``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anywidget
from traitlets import Int, Unicode

LARGEST = 100_000_000  # bytes; a phone's photograph has 3 to 30 million


@dataclass(frozen=True)
class Brought:
    """What somebody dropped or chose.

    Attributes
    ----------
    names : list of str
        Of all files.
    size : int
        Bytes of the first one.
    content : bytes
        Of the only one; fewer than `size` if the browser did not read it.
    """

    names: list[str]
    size: int
    content: bytes

    def one(self) -> tuple[str, bytes]:
        """Return name and content if it is one file that could be read.

        Raises
        ------
        ValueError
            If it is no file, several, a folder, or larger than `LARGEST`.
        """
        if not self.names:
            raise ValueError("What was dropped is no file; drop a picture file of this computer")
        if len(self.names) > 1:
            some = ", ".join(self.names[:3]) + (", ..." if len(self.names) > 3 else "")
            raise ValueError(f"These are {len(self.names)} files ({some}); bring one at a time")
        (name,) = self.names
        if self.size > LARGEST:
            raise ValueError(
                f"{name} has {self.size / 1e6:.0f} MB; allowed are {LARGEST / 1e6:.0f} MB. "
                "Make the picture smaller, or save it as JPEG"
            )
        if len(self.content) != self.size:
            raise ValueError(f"{name} could not be read; bring a picture file, not a folder")
        return name, self.content


class DropZone(anywidget.AnyWidget):
    """A button that opens the file dialog and on which a file can be dropped.

    Parameters
    ----------
    description : str
        What stands on it.
    accept : str
        What the file dialog offers first, as in HTML: "image/*,.heic".
    **more
        As every widget takes it: `tooltip`, `layout`.
    """

    _esm = Path(__file__).with_suffix(".js")
    description = Unicode().tag(sync=True)
    accept = Unicode().tag(sync=True)
    largest = Int(LARGEST).tag(sync=True)

    def __init__(self, **more):
        super().__init__(**more)
        self._handlers: list[Callable[[Brought], None]] = []
        self._content = bytearray()
        self.on_msg(self._collect)

    def on_files(self, handler: Callable[[Brought], None]) -> None:
        """Call a function with whatever is brought from now on."""
        self._handlers.append(handler)

    def _collect(self, _, message: dict, buffers: list) -> None:
        """Put a file's pieces together; a message without one says that no more will come."""
        if not buffers or message["start"] == 0:
            self._content.clear()
        for piece in buffers:
            self._content += piece
        if buffers and len(self._content) < message["size"]:
            return
        brought = Brought(message["names"], message["size"], bytes(self._content))
        self._content.clear()
        for handler in self._handlers:
            handler(brought)
