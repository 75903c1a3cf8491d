"""``ddlib predict``: say how likely pictures are fake."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

NOTE = "a score is a hint and no proof"


COLUMNS = ("file", "score", "verdict", "region", "width", "height", "format", "jpeg_quality")


COLUMNS += ("warnings", "error")


@click.command("predict")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--detector", "which", metavar="NAME|FILE", help="Another detector than the usual.")
@click.option("--json", "form", flag_value="json", help="Print one JSON document.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--face", is_flag=True, help='Cut out the largest face first (pip "ddlib[face]").')
@click.option(
    "--cam",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write a PNG a picture into DIR that shows where the evidence lies (slower).",
)
@click.option("--workers", type=click.IntRange(1), help="Threads; by default one a processor.")
def command(paths, which, form, face, cam, workers) -> None:
    """Say how likely pictures are fake.

    PATH is a file, a folder (with all below it), a pattern such as "*.jpg", or - for a list of
    files on standard input. The score is the calibrated probability of "fake"; the verdict is
    real, unsure or fake. A score is a hint and no proof.

    Exit status: 0 all pictures were read, 1 some could not be read (their rows say why), 2 wrong
    usage or no picture found.
    """
    from ddlib.deploy.detector import open_detector
    from ddlib.deploy.predict import find_files, predict_files
    from ddlib.images.faces import INSTALL, available

    if face and not available():
        raise click.UsageError(f"--face needs OpenCV 4, which is not installed: {INSTALL}")
    detector = open_detector(which)
    scorer = detector.scorer(workers)
    files = find_files(paths, sys.stdin if "-" in paths else ())
    rows = predict_files(files, detector, scorer, face)
    if cam:
        rows = _with_overlays(rows, detector, cam)
    about = {
        "detector": detector.name,
        "temperature": detector.temperature,
        "unsure": list(detector.unsure),
        "faces_cut_out": face,
        "note": NOTE,
    }
    try:
        found, unread = _print_all(form or "table", about, rows)
    except BrokenPipeError:  # `| head` has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    if not found:
        raise click.UsageError(f"there is no picture in {', '.join(map(_plain, paths))}")
    raise SystemExit(1 if unread else 0)


def _print_all(form: str, about: dict, rows) -> tuple[int, int]:
    """Print rows as they come; return how many there were and how many had an error."""
    found = unread = 0
    writer = {"table": _Table, "csv": _Csv, "json": _Json}[form]()
    for row in _progress(rows):
        if not found:  # an empty folder prints nothing but its error
            writer.begin(about)
        found += 1
        unread += row.error is not None
        writer.row(row)
    if found:
        writer.end()
    return found, unread


class _Table:
    """Lines for people."""

    def begin(self, about: dict) -> None:
        what = "the largest face" if about["faces_cut_out"] else "whole pictures, no face cut out"
        low, high = about["unsure"]
        band = f"unsure from {low:.2f} to {high:.2f}" if low < high else f"fake from {high:.2f}"
        click.echo(f"detector {about['detector']}; scored: {what}; {band}; {NOTE}")
        click.echo(" P(fake)  verdict  file")

    def row(self, row) -> None:
        score = "      -" if row.score is None else f"{row.score:7.3f}"
        says = f": {_plain(row.error)}" if row.error else ""
        says += f"  ({'; '.join(row.warnings)})" if row.warnings else ""
        click.echo(f" {score}  {row.verdict or 'error':<7}  {_plain(row.file)}{says}")

    def end(self) -> None:
        pass


class _Csv:
    """One table, warnings joined by semicolons."""

    def begin(self, about: dict) -> None:
        self.writer = csv.DictWriter(
            sys.stdout, COLUMNS, extrasaction="ignore", lineterminator="\n"
        )
        self.writer.writeheader()

    def row(self, row) -> None:
        values = row.to_dict()
        score = None if row.score is None else round(row.score, 6)
        texts = {"file": _plain(row.file), "warnings": "; ".join(row.warnings)}
        self.writer.writerow({**values, **texts, "score": score})

    def end(self) -> None:
        pass


class _Json:
    """One document, written row by row: what is in memory does not grow."""

    def begin(self, about: dict) -> None:
        head = json.dumps(about)
        click.echo(f'{head[:-1]}, "predictions": [', nl=False)
        self.comma = ""

    def row(self, row) -> None:
        click.echo(f"{self.comma}\n {json.dumps(row.to_dict())}", nl=False)
        self.comma = ","

    def end(self) -> None:
        click.echo("\n]}")


def _progress(rows) -> Iterator:
    """Show a bar on a terminal, unless the rows themselves appear there."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        return rows
    from tqdm import tqdm

    return tqdm(rows, unit="picture", file=sys.stderr)


def _with_overlays(rows, detector, folder: Path) -> Iterator:
    """Write each row's heat map over its picture as NUMBER-NAME.png, and pass the row on."""
    from PIL import Image

    from ddlib.gradcam import GradCAM
    from ddlib.images.overlay import overlay

    cam = GradCAM(detector.keras_model(), batch_size=1)
    folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows, 1):
        if row.prepared is not None:
            target = "fake" if row.score >= detector.threshold else "real"
            heat = cam(row.prepared[None], target).heat[0]
            name = f"{number:05d}-{Path(row.file).stem}-{target}.png"
            Image.fromarray(overlay(row.prepared, heat)).save(folder / name)
        yield row


def _plain(text) -> str:
    """Return text that any terminal can show: names may hold anything."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
