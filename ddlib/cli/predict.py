"""Say how likely images are fake."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import click

from ddlib._utils import atomic_write, is_terminal, printable, read_json, write_json
from ddlib.cli import shared
from ddlib.protocol import PREPARE

NOTE = "A score is evidence, not proof."
NAMED = 3  # pictures without a score, in the last line
COLUMNS = ("file", "score", "verdict", "region", "width", "height", "format", "jpeg_quality")
COLUMNS += ("warnings", "error")
OPTIONAL = {"--csv": r".*\.csv", "--ray": shared.RAY_ADDRESS}


@click.command("predict", cls=shared.OptionalValues, words=OPTIONAL)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--detector", "which", metavar="NAME|FILE", help="Another detector than the usual.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--csv",
    "table",
    metavar="[FILE.csv]",
    help="Print CSV, or write it to a file; pictures that have a score there are kept as they are.",
)
@click.option("--ray", "address", metavar="[HOST:PORT]", help=shared.RAY_HELP)
@click.option("--face", is_flag=True, help="Cut out the largest face first (needs OpenCV 4).")
@click.option(
    "--cam",
    type=shared.FOLDER,
    metavar="DIR",
    help="Write a PNG an image into DIR that shows where the evidence lies (slower).",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Threads, with --ray processes; by default one a processor.",
)
def command(paths, which, as_json, table, address, face, cam, workers) -> None:
    """Say how likely images are fake.

    PATH is a file, a folder (with all below it), a pattern such as "*.jpg", or - for a list of
    files on standard input, one a line or, as of "find -print0", each with a NUL after it. The
    score is the calibrated probability of "fake"; the verdict is real, unsure or fake. A score is
    evidence, not proof.

    Exit status: 0 all images were scored, 1 some were not (their rows say why), 2 wrong usage or no
    image found.
    """
    from ddlib.deploy.detector import open_detector
    from ddlib.deploy.predict import find_files
    from ddlib.images.faces import load_cascade

    if face:
        try:
            load_cascade()
        except ImportError as error:
            raise click.UsageError(str(error)) from None
    if as_json and table is not None:
        raise click.UsageError("--json and --csv are two forms; give one")
    if cam and address is not None:
        raise click.UsageError("--cam draws on this machine only; leave out --ray")
    if address is not None:
        shared.check_ray()
    detector = open_detector(which)
    listed = read_list(click.get_binary_stream("stdin")) if "-" in paths else ()
    files = list(find_files(paths, listed))
    if not files:
        raise click.UsageError(f"there is no image in {', '.join(map(printable, paths))}")
    about = {
        "detector": detector.name,
        "temperature": detector.temperature,
        "reject_band": list(detector.reject_band),
        "faces_cut_out": face,
        "note": NOTE,
    }
    if cam:
        shared.load_tensorflow()
    score, unread = partial(_score, detector, face, workers, address, cam), []
    if table:
        model = detector.card.tflite_sha256 or detector.card.sha256
        about |= {"model": model, "prepare": PREPARE}
        _extend_csv(Path(table), about, files, score, unread)
    else:
        rows = score(files)
        rows = chain([next(rows)], rows)  # what fails before the first row prints nothing else
        form = _print_json if as_json else _print_table if table is None else _print_csv
        form(about, _follow(rows, unread, len(files), printed=True))
    raise SystemExit(1 if unread else 0)


def _score(detector, face, workers, address, cam, files: list, first: int = 1) -> Iterator:
    """Yield a prediction for each file, the options being those of the command.

    With --cam the heat maps are numbered from `first`.
    """
    if address is None:
        from ddlib.deploy.predict import predict_files

        rows = predict_files(files, detector, detector.scorer(workers), face)
        return _with_overlays(rows, cam, detector.grad_cam, first) if cam else rows
    from ddlib.deploy.ray_cluster import score_files

    log = partial(click.echo, err=True)
    return score_files(files, detector, face, address or None, workers, log)


def _follow(rows, unread: list[str], total: int, printed: bool = False) -> Iterator:
    """Pass rows on and note in `unread` the pictures without a score.

    A bar is shown on a terminal, unless the rows are printed there themselves.
    """
    if is_terminal(sys.stderr) and not (printed and is_terminal(sys.stdout)):
        from tqdm import tqdm

        rows = tqdm(rows, unit="picture", file=sys.stderr, total=total)
    for row in rows:
        if row.error is not None:
            unread.append(printable(os.fspath(row.file)))
        yield row


def _extend_csv(path: Path, about: dict, files: list, score, unread: list[str]) -> None:
    """Make a CSV file of the pictures' rows, as `_print_csv` prints them.

    Each row is in the file as soon as it is known, so that a command that was stopped goes on. A
    picture that could not be read is tried again: it may have been mended. Rows of pictures that
    are not asked for stay, before the others. What scored the pictures is kept beside the file:
    rows of two detectors do not get into one table.
    """
    made_by = path.with_name(f"{path.name}.json")
    if path.exists() and (not made_by.is_file() or read_json(made_by) != about):
        raise click.UsageError(
            f"{path} is there already, and not of this detector and these options "
            f"({made_by.name} would say so); remove it or name another file"
        )
    earlier, names = _read_csv(path), [_cell(file) for file in files]
    asked = set(names)
    others = [row for name, row in earlier.items() if name not in asked]
    kept = {name: row for name, row in earlier.items() if not row[-1]}
    missing = [file for file, name in zip(files, names, strict=True) if name not in kept]
    write_json(made_by, about)
    _write_csv(path, others + [kept[name] for name in names if name in kept])
    with path.open("a", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        rows = score(missing, first=len(kept) + 1) if missing else ()
        for row in _follow(rows, unread, len(missing)):
            writer.writerow(_cells(row))
            stream.flush()
    in_order = [name for name in names if name in kept] + [_cell(file) for file in missing]
    if in_order != names:  # pictures came in between those that had a score
        rows = _read_csv(path)
        _write_csv(path, others + [rows[name] for name in names])
    told = f"{len(files)} rows in {path}, {len(files) - len(missing)} of them from before"
    if others:
        told += f", beside {len(others)} of other pictures"
    if unread:
        more = f" and {len(unread) - NAMED} more" if len(unread) > NAMED else ""
        told += f"; without a score: {', '.join(unread[:NAMED])}{more} (the column error says why)"
    click.echo(told, err=True)


def _read_csv(path: Path) -> dict[str, list[str]]:
    """Return the whole rows of a CSV file by the name of the picture; a torn last one is none."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    return {row[0]: row for row in rows if len(row) == len(COLUMNS) and row != list(COLUMNS)}


def _write_csv(path: Path, rows: list) -> None:
    """Write the heading and rows, in place of what is there."""
    with atomic_write(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows([COLUMNS, *rows])


def _print_table(about: dict, rows) -> None:
    """Print lines for people."""
    what = "the largest face" if about["faces_cut_out"] else "whole pictures, no face cut out"
    low, high = about["reject_band"]
    band = f"unsure from {low:.2f} to {high:.2f}" if low < high else f"fake from {high:.2f}"
    click.echo(f"detector {about['detector']}; scored: {what}; {band}. {NOTE}")
    click.echo(" P(fake)  verdict  file")
    for row in rows:
        score = "      -" if row.score is None else f"{row.score:7.3f}"
        text = f": {printable(row.error)}" if row.error else ""
        text += f"  ({'; '.join(row.warnings)})" if row.warnings else ""
        click.echo(f" {score}  {row.verdict or 'error':<7}  {printable(row.file)}{text}")


def _print_csv(about: dict, rows) -> None:
    """Print one CSV table, into a file or a pipe as UTF-8."""
    if not is_terminal(sys.stdout) and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows(chain([COLUMNS], map(_cells, rows)))


def _print_json(about: dict, rows) -> None:
    """Print one JSON document row by row: memory does not grow."""
    click.echo(f'{json.dumps(about)[:-1]}, "predictions": [', nl=False)
    for number, row in enumerate(rows):
        text = json.dumps(row.to_dict(), allow_nan=False)
        click.echo(f"{',' if number else ''}\n {text}", nl=False)
    click.echo("\n]}")


def _cells(row) -> list:
    """Return a row of a table, warnings joined by semicolons."""
    values = row.to_dict() | {"file": _cell(row.file), "warnings": "; ".join(row.warnings)}
    if row.score is not None:
        values["score"] = round(row.score, 6)
    return [values[column] for column in COLUMNS]


def _cell(file) -> str:
    """Return a file's name as a cell of a table: no formula, the same file."""
    name = printable(os.fspath(file))
    return f"./{name}" if name.startswith(tuple("=+-@")) else name


def _with_overlays(rows, folder: Path, grad_cam, first: int) -> Iterator:
    """Write each row's heat map over its image as NUMBER-NAME-evidence-for-CLASS.png; pass it on.

    A map that cannot be made or written is the error of its row. `grad_cam` was asked for before
    the first row: a detector without one is an error of its own.
    """
    for number, row in enumerate(rows, first):
        if row.score is not None:
            stem = Path(row.file).stem.encode("utf-8", "ignore")[:100].decode("utf-8", "ignore")
            try:
                explanation = row.explain()
                name = f"{number:05d}-{stem}-evidence-for-{explanation.target}.png"
                explanation.save(folder / name)
            except (ValueError, OSError) as error:
                row = replace(row, error=f"its heat map: {error}")
        yield row


def read_list(stream) -> list[str]:
    """Return the paths in a binary stream: one a line or, if it ends with a NUL, between NULs.

    A byte order mark of UTF-8 is skipped; UTF-16 is a usage error. Names are bytes to the system
    and need not be text.
    """
    listed = stream.read()
    start = listed[:4]
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0\0" in (start[::2], start[1::2]):
        raise click.UsageError("the list on standard input is UTF-16; save it as UTF-8")
    listed = listed.removeprefix(b"\xef\xbb\xbf")
    if listed.endswith(b"\0") or b"\n" not in listed:
        paths = listed.split(b"\0")
    else:
        paths = [line.rstrip(b"\r") for line in listed.split(b"\n")]
    return [_decoded(path) for path in paths if path]


def _decoded(name: bytes) -> str:
    try:
        return os.fsdecode(name)
    except UnicodeDecodeError:  # Windows alone: `dir` writes in the code page of the console
        return name.decode("oem")
