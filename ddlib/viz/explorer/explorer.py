"""The explorer's behaviour: a control changes the state, the state decides what is shown.

The controls follow a new `State` at once; one thread works on the newest, and its answer comes back
through the event loop. Whatever goes wrong ends as a sentence in the page.
"""

import asyncio
import base64
import html
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ddlib.metrics.format import display_name
from ddlib.viz.explorer import gallery
from ddlib.viz.explorer.controls import PAGE, Controls, DropZone
from ddlib.viz.explorer.render import State, layer_choices, render
from ddlib.viz.pictures import image_grid
from ddlib.viz.style import to_png


class Explorer:
    """Controls around a picture; display it as the last line of a cell.

    Parameters
    ----------
    study : ddlib.study.study.Study
        Its test images and trained models are offered, after them the detectors of the package.
    models : sequence of path
        More .keras files, each with the .json that describes it beside it.
    """

    def __init__(self, study, models: Sequence[str | Path] = ()):
        self.study, self.state, self.panels = study, State(), []  # panels: the newest answer
        files = [str(file) for file in [*models, *gallery.find_models(study.folder)]]
        sources = sorted(study.manifest.table["source"].unique())
        self.controls = c = Controls(
            [(gallery.model_title(file), file) for file in files],
            [(display_name(source), source) for source in sources],
            DropZone(self._take, lambda error: self._say("Nothing was taken.", error)),
        )
        self._worker, self._work = ThreadPoolExecutor(1), Future()
        self._on_loop = lambda call, *arguments: call(*arguments)
        with suppress(RuntimeError):  # outside a kernel no loop runs; in one, controls belong to it
            self._on_loop = asyncio.get_running_loop().call_soon_threadsafe
        for name, control in c.fields.items():
            control.observe(lambda change, name=name: self.set(**{name: change["new"]}), "value")
        c.position.observe(lambda change: self._go(change["new"]), "value")
        c.previous.on_click(lambda button: self._go(c.position.value - 1))
        c.next.on_click(lambda button: self._go(c.position.value + 1))
        for pick in c.picks:
            pick.on_click(lambda pick: self._go(self._first + c.picks.index(pick) + 1))
        c.save.on_click(lambda button: self._save())
        c.reset.on_click(lambda button: self._become(State(model=files[0])))
        self._say("The model is loading.")
        self._become(State(model=files[0]))

    def set(self, **changes) -> None:
        """Change fields of the state, as the controls do."""
        self._become(replace(self.state, **changes))

    def wait(self, seconds: float = 60) -> bool:
        """Return True once the newest state is answered, False when the seconds are over first."""
        return not wait([self._work], seconds).not_done

    def _repr_mimebundle_(self, **options):
        """Give notebooks the controls, and exported pages, which have no kernel, the picture."""
        self.wait()
        bundle = self.controls.box._repr_mimebundle_(**options)
        if self.panels:
            bundle["image/png"] = self._png()
        return bundle

    def _take(self, name: str, content: bytes) -> None:
        """Show a file that the user brought."""
        picture = gallery.Picture(name, content)
        if picture == self.state.picture:  # brought again: answered again, a message may be there
            self.state = replace(self.state, picture=None)
        self.set(picture=picture)

    def _go(self, position: int) -> None:
        """Show a picture of the gallery, counted from 1, round the ends."""
        if self._found:
            self.set(picture=self._found[(position - 1) % len(self._found)])

    def _become(self, state: State) -> None:
        """Take a state, make the controls follow it, and have it answered."""
        if state == self.state:
            return  # a control that followed
        if state.model != self.state.model:
            self._all = gallery.pictures_of(self.study.manifest, state.model)
            self._scored = any(picture.decision for picture in self._all)
        if not self._scored:
            state = replace(state, decision=gallery.ANY)
        self._found = gallery.matching(self._all, state.source, state.label, state.decision)
        own = state.picture is not None and not state.picture.label
        if not own and state.picture not in self._found:
            state = replace(state, picture=self._found[0] if self._found else None)
        self.state = state
        page = self._follow()
        self._work.cancel()  # overtaken, unless it has begun
        self._work = self._worker.submit(self._answer, self.state, page)

    def _follow(self) -> list[gallery.Picture]:
        """Make the controls say what the state says; return the pictures that have thumbnails."""
        c, n = self.controls, len(self._found)
        for name, control in c.fields.items():
            control.value = getattr(self.state, name)
        with c.position.hold_trait_notifications():  # a smaller maximum alone would move the value
            if self.state.picture in self._found:
                c.position.value = self._found.index(self.state.picture) + 1
            c.position.max = max(n, c.position.value)
        for control in (c.position, c.previous, c.next):
            control.disabled = not self._found
        c.fields["decision"].disabled = not self._scored
        numbers = "; numbers are P(fake)" if self._scored else ""
        c.count.value = f"{n} of {len(self._all)} pictures{numbers}"
        self._first = (min(c.position.value, max(n, 1)) - 1) // PAGE * PAGE
        page = self._found[self._first : self._first + PAGE]
        for number, place in enumerate(c.places):
            place.layout.visibility = "visible" if number < len(page) else "hidden"
        for number, (pick, picture) in enumerate(zip(c.picks, page, strict=False), self._first):
            words = f"{picture.score:.2f}" if self._scored else f"{number + 1}"
            pick.description = f"▶ {words}" if picture == self.state.picture else words
            pick.tooltip = f"{picture.name}. {picture.origin}"
        return page

    def _answer(self, state: State, page: list[gallery.Picture]) -> None:
        """Compute what a state shows; runs on the thread."""
        try:
            views, self.panels = render(state)
            shown = [(panel.html, panel.png) for panel in self.panels]
            says = [f"{view.name}: {view.verdict}, P(fake) {view.score:.3f}" for view in views]
            words = f"{state.picture.name}. {'; '.join(says)}. {state.picture.origin}.", ""
        except Exception as error:  # told in the page: nobody waits for what a thread raises
            views, self.panels, shown = [], [], []
            words = "No answer.", error_message(error)
        self._on_loop(self._show, views, shown, words)
        for thumb, picture in zip(self.controls.thumbs, page, strict=False):
            if state is self.state:
                self._on_loop(setattr, thumb, "value", gallery.thumbnail(picture))

    def _show(self, views: list, shown: list, words: tuple[str, str]) -> None:
        """Put an answer on the screen, or the sentence about why there is none."""
        c = self.controls
        self._say(*words)
        c.save.disabled, c.link.value = not views, ""
        for number, box in enumerate(c.panels):
            box.layout.display = "" if number < len(shown) else "none"
        for box, answer in zip(c.panels, shown, strict=False):
            for part, value in zip(box.children, answer, strict=True):
                part.value = value
        if views:
            choices, layer = layer_choices(views[0].detector), c.fields["layer"]
            if list(layer.options) != choices:
                wanted = self.state.layer
                layer.options = choices  # selects the first
                layer.value = wanted if wanted in dict(choices).values() else ""

    def _png(self) -> str:
        """Return the panels with their words as one figure, PNG in base64."""
        titles = ["\n".join(panel.lines) for panel in self.panels]
        images = [panel.image for panel in self.panels]
        figure = image_grid(images, titles, min(3, len(images)))
        return base64.b64encode(to_png(figure)).decode()

    def _save(self) -> None:
        """Offer the figure to the browser."""
        name = html.escape(f"{Path(self.panels[0].title).stem}.png")
        data = f"data:image/png;base64,{self._png()}"
        self.controls.link.value = f'<a download="{name}" href="{data}"><u>Download {name}</u></a>'

    def _say(self, status: str, error: str = "") -> None:
        """Write the line that a screen reader reads out, and the one where errors go."""
        alert = f'<div class="ddlib-error" role="alert">{html.escape(error)}</div>'
        self.controls.verdict.value = f'<div role="status">{html.escape(status)}</div>'
        self.controls.error.value = alert if error else ""


def error_message(error: Exception) -> str:
    """Return an error as a sentence, without a traceback."""
    text = str(error)
    if not isinstance(error, ValueError | OSError) or not text:
        text = f"This did not work ({type(error).__name__}: {text})"
    return text if text.endswith((".", "!", "?")) else f"{text}."
