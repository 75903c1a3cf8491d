"""The explorer's behaviour: what each control does, and how answers reach the screen.

Handlers only write down what is wanted; a thread works on the newest wish (`ddlib.viz.explorer.latest`), and its
answer comes back through the event loop. Whatever goes wrong ends as a sentence in the page.
"""

from __future__ import annotations

import asyncio
import base64
import html
import re
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

from ddlib._io import atomic_write
from ddlib.viz.explorer.controls import ANY, NONE, Controls, same
from ddlib.viz.explorer.engine import BAND, Engine
from ddlib.viz.explorer.gallery import find_models, gallery_table, matching, picture_of, scores_of
from ddlib.viz.explorer.latest import Done, Latest
from ddlib.viz.explorer.rows import error_message, layer_choices, verdict_line
from ddlib.viz.explorer.strip import Strip
from ddlib.viz.explorer.terms import Answer, Picture

FIRST_ANSWER = 60  # seconds that displaying waits for the picture which exported pages show


def need_models(study) -> dict[str, Path]:
    """Return a study's trained models, or say how to get some."""
    found = find_models(study.folder)
    if not found:
        raise FileNotFoundError(
            f"no trained model in {study.folder / 'models'}; run notebook 02 or `make reproduce`"
        )
    return found


def guarded(handler: Callable) -> Callable:
    """Make a handler of controls say what went wrong; a kernel would swallow it."""

    @wraps(handler)
    def safe(self, *args):
        try:
            self.say_error("")
            handler(self, *args)
        except Exception as error:
            self.say_error(error_message(error))

    return safe


class Explorer:
    """Controls around a picture; display it as the last line of a cell.

    Parameters
    ----------
    study : ddlib.study.study.Study
        Its test pictures and trained models are offered.
    band : (float, float)
        Scores between these are called unsure; `ddlib.metrics.calibration.reject_band` can choose them.

    Raises
    ------
    FileNotFoundError
        If the study has no trained model yet.
    """

    def __init__(self, study, band: tuple[float, float] = BAND):
        self.study, self.engine = study, Engine(band)
        self.models = need_models(study)
        self.controls = Controls(list(self.models))
        self.answer: Answer | None = None  # what is on the screen
        self._newest: Answer | None = None
        self._own: Picture | None = None  # brought by the user, instead of one of the gallery
        self._quiet = False
        self._loop = _running_loop()
        self._answers = Latest(lambda wish: self.engine.answer(*wish), self._answered)
        self._strip = Strip(self.controls, study.manifest.root, self._on_loop)
        self._listen()
        self._fill()

    def wait(self, seconds: float = FIRST_ANSWER) -> bool:
        """Return True once every wish is answered, False when the seconds are over first."""
        return self._answers.wait(seconds) and self._strip.reader.wait(seconds)

    def _repr_mimebundle_(self, **options):
        """Give notebooks the controls, and exported pages, which have no kernel, the picture."""
        bundle = self.controls.box._repr_mimebundle_(**options)
        self._answers.wait(FIRST_ANSWER)
        if self._newest is None:
            return bundle
        return {**bundle, "image/png": base64.b64encode(self._newest.png).decode()}

    def _listen(self) -> None:
        c = self.controls
        for control in c.of_answer:
            control.observe(lambda change: self._ask(), "value")
        for control in c.filters:
            control.observe(lambda change: self._filter(), "value")
        for slider, tick in c.ticked:  # who moves a slider wants to see what it does
            slider.observe(lambda change, tick=tick: self._tick(tick), "value")
        c.model.observe(lambda change: self._fill(), "value")
        c.position.observe(lambda change: self._choose(), "value")
        c.own.on_files(self._bring)
        c.file.observe(lambda change: self._add_model(change["new"]), "value")
        c.previous.on_click(lambda button: self._go(c.position.value - 1))
        c.next.on_click(lambda button: self._go(c.position.value + 1))
        c.reset.on_click(lambda button: self._reset())
        c.save.on_click(lambda button: self._save())
        for place, pick in enumerate(c.picks):
            pick.on_click(lambda button, place=place: self._go(self._strip.start + place + 1))

    # which pictures there are, and which one is looked at

    @guarded
    def _fill(self) -> None:
        """Offer the pictures as the first model scored them."""
        if self._quiet:
            return
        c = self.controls
        scores = scores_of(self.models[c.model.value])
        self.table = gallery_table(self.study.manifest, scores)
        c.decision.disabled = c.scores.disabled = scores is None
        with self._quietly():
            _set_options(c.source, [ANY, *same(sorted(self.table["source"].unique()))])
            if scores is None:
                c.decision.value, c.scores.value = "", (0.0, 1.0)
        self._filter()

    @guarded
    def _filter(self) -> None:
        if self._quiet:
            return
        c, before = self.controls, self._path()
        wanted = {name: getattr(c, name).value or None for name in ("source", "label", "decision")}
        self.matching = matching(self.table, **wanted, scores=c.scores.value)
        paths = list(self.matching["path"])
        for control in (c.position, c.previous, c.next):
            control.disabled = not paths
        with self._quietly():
            c.position.max = max(len(paths), 1)
            c.position.value = paths.index(before) + 1 if before in paths else 1
        c.count.value = f"{len(paths)} of {len(self.table)} pictures; numbers are P(fake)"
        self._turn_page()
        if not paths:
            raise ValueError("No picture passes these filters; widen one of them.")
        self._ask()

    def _path(self) -> str | None:
        """Return which picture of the gallery the position means."""
        rows, place = getattr(self, "matching", ()), self.controls.position.value - 1
        return rows["path"].iloc[place] if place < len(rows) else None

    def _go(self, position: int) -> None:
        """Move to a picture, round the ends; also back from a picture of one's own."""
        slider = self.controls.position
        position = (position - 1) % slider.max + 1
        if position == slider.value:
            self._choose()
        slider.value = position

    def _choose(self) -> None:
        if not self._quiet:
            self._own = None
            self._turn_page()
            self._ask()

    def _turn_page(self) -> None:
        self._strip.show(self.matching, self.controls.position.value, self._own is None)

    @guarded
    def _bring(self, brought) -> None:
        self._own = Picture(*brought.one())
        self._turn_page()
        self._ask()

    def _tick(self, tick) -> None:
        if not self._quiet:
            tick.value = True

    # wishes and answers

    def _ask(self) -> None:
        """Ask for what the controls say; the answer comes to `_show`."""
        if self._quiet or (self._own is None and not len(self.matching)):
            return
        self.say_error("")
        c, picture = self.controls, self._own
        if picture is None:
            row = next(self.matching.iloc[[c.position.value - 1]].itertuples())
            picture = picture_of(self.study.manifest.root, row)
        names = dict.fromkeys(filter(None, (c.model.value, c.second.value)))
        self._answers.submit((picture, {n: self.models[n] for n in names}, c.settings()))

    def _answered(self, done: Done) -> None:
        self._newest = done.result
        self._on_loop(lambda: self._show(done))

    def _show(self, done: Done) -> None:
        c, picture = self.controls, done.request[0]
        self.answer = done.result
        c.image.layout.visibility = "hidden" if done.error else "visible"
        c.save.disabled = done.error is not None
        if done.error:
            c.verdict.value = f'<div role="status">No answer for {html.escape(picture.name)}.</div>'
            c.said.value = ""
            self.say_error(error_message(done.error))
            return
        c.image.value = done.result.png
        words = verdict_line(done.result, "<b>{}</b>")
        c.verdict.value = f'<div class="ddlib-verdict" role="status">{words}</div>'
        c.said.value = f'<div class="ddlib-said">Answered in {1000 * done.seconds:.0f} ms.</div>'
        with self._quietly():
            _set_options(c.layer, layer_choices(done.result.views[0].layers))

    def say_error(self, text: str) -> None:
        """Show a sentence where errors go, or clear it."""
        shown = f'<div class="ddlib-error" role="alert">{html.escape(text)}</div>' if text else ""
        self.controls.error.value = shown

    # the two buttons

    @guarded
    def _reset(self) -> None:
        with self._quietly():
            for control, value in self.controls.start.items():
                control.value = value
        self._own, self.matching = None, self.matching[:0]
        self._fill()

    @guarded
    def _save(self) -> None:
        if self.answer is None:
            raise ValueError("There is no picture to save yet.")
        views = self.answer.views
        parts = [Path(self.answer.picture.name).stem, *(view.model for view in views)]
        name = re.sub(r"[^\w.+-]+", "-", "-".join([*parts, views[0].maps.layer])) + ".png"
        path = self.study.folder / "explorer" / name
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(self.answer.png)
        data = base64.b64encode(self.answer.png).decode()
        link = f'<a download="{name}" href="data:image/png;base64,{data}">Download it</a>'
        place = html.escape(str(path))
        self.controls.said.value = f'<div class="ddlib-said">Saved as {place}. {link}</div>'

    @guarded
    def _add_model(self, text: str) -> None:
        if not text.strip():
            return
        path, c = Path(text.strip().strip("\"'")).expanduser(), self.controls
        self.engine.load(path)  # says what is wrong before the file is offered
        name = next((n for n, p in self.models.items() if p == path), str(path))
        self.models[name] = path
        with self._quietly():
            _set_options(c.model, same(self.models))
            _set_options(c.second, [NONE, *same(self.models)])
        c.file.value, c.model.value = "", name

    # small print

    @contextmanager
    def _quietly(self):
        """Set controls without asking for an answer at each."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _on_loop(self, call: Callable[[], None]) -> None:
        """Run on the kernel's loop, where controls may be set; without one, right here."""
        if self._loop is None:
            call()
        else:
            self._loop.call_soon_threadsafe(call)


def _set_options(control, options) -> None:
    """Change a choice's options; what was chosen stays if it is still there."""
    if list(control.options) != list(options):
        kept = control.value
        control.options = options
        values = [value for _, value in options]
        control.value = kept if kept in values else values[0]


def _running_loop():
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
