"""List, find, fetch and check the data sets."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pandas as pd

from ddlib.data.manifest import DUPLICATE, LEAK, TWICE, ManifestError, check_manifest
from ddlib.data.sources import UNCLAIMED, UNLISTED, fetch, load_sources, locate_all, scan_folder
from ddlib.traces.shortcuts import shortcuts

# Reasons to set an image aside that need no mending: what stays is sound.
HARMLESS = (DUPLICATE, LEAK, TWICE, UNLISTED, UNCLAIMED)


SHOWN = 5  # images of a kind that are named unless all are asked for


folder_option = click.option(
    "--data",
    "root",
    envvar="DDLIB_DATA",
    default="data",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The data folder (also: DDLIB_DATA).",
)


@click.group("data")
def command() -> None:
    """List, find, fetch and check the data sets."""


@command.command("list")
@folder_option
def list_sets(root: Path) -> None:
    """List the registered data sets, what they hold and where they are found."""
    found, rows = locate_all(root), []
    for source in load_sources().values():
        folder, counts = found.get(source.name, (None, {}))
        rows.append(
            {
                "name": source.name,
                "published": _counts(source.expected),
                "here": _counts(counts),
                "where": "" if folder is None else folder.as_posix(),
                "fetched by": source.fetched or "hand",
                "licence": source.licence,
                "what": source.what,
            }
        )
    click.echo(_table(pd.DataFrame(rows)))


@command.command()
@click.argument("names", nargs=-1)
@folder_option
def locate(names: tuple[str, ...], root: Path) -> None:
    """Print the folders of the data sets NAMES, by default of all that are there.

    Exit status: 0 all found, 1 one is not there.
    """
    known = load_sources()
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(
            f"no data set is named {', '.join(unknown)}; known are {', '.join(known)}"
        )
    found = locate_all(root)
    for name in names or found:
        where = found[name][0].as_posix() if name in found else f"not under {root.as_posix()}"
        click.echo(f"{name}: {where}")
    if set(names) - set(found):
        sys.exit(1)


@command.command("fetch")
@click.argument("name")
@folder_option
@click.option("--url", help="A zip or tar archive to fetch instead, such as a mirror.")
@click.option("--sha256", help="What the archive's SHA-256 must be.")
def fetch_set(name: str, root: Path, url: str | None, sha256: str | None) -> None:
    """Fetch the data set NAME into the data folder; an interrupted fetch is continued."""
    source = load_sources().get(name)
    if source:
        click.echo(f"{name}: {source.what}\nlicence: {source.licence} ({source.page})")
    click.echo(f"{name}: complete in {fetch(name, root, url, sha256).as_posix()}")


@command.command()
@click.argument("root", envvar="DDLIB_DATA", type=click.Path(path_type=Path), default="data")
@click.option("--all", "everything", is_flag=True, help="Name every image that is excluded.")
def check(root: Path, everything: bool) -> None:
    """Read every image under ROOT and report counts, what was excluded, and shortcuts.

    Exit status: 0 all is well, 1 an image is broken or two splits share a picture.
    """
    manifest, aside = scan_folder(root, progress=sys.stderr.isatty())
    total = len(manifest) + len(aside)
    click.echo(f"{root}: {total} files = {len(manifest)} images + {len(aside)} excluded\n")
    click.echo(_table(_summary(manifest.table)) + "\n")
    problems = _report_aside(aside, everything)
    for line in shortcuts(manifest.table):
        click.echo(line)
    try:
        check_manifest(manifest)
    except ManifestError as error:
        problems += 1
        click.echo(f"problem: {error}")
    click.echo("problems found" if problems else "no problems found")
    sys.exit(1 if problems else 0)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Count images by source, label and split, with the formats and sizes they come in."""
    rows = []
    for (label, source), own in table.groupby(["label", "source"], sort=False):
        splits = own["split"].value_counts()
        width, height, quality = own["width"], own["height"], own["jpeg_quality"].dropna()
        rows.append(
            {
                "label": label,
                "source": source,
                **{split: splits.get(split, 0) for split in ("train", "valid", "test")},
                "format": "/".join(own["format"].value_counts().index),
                "width": _range(width),
                "height": _range(height),
                "JPEG quality": _range(quality) if len(quality) else "",
            }
        )
    return pd.DataFrame(rows).sort_values(["label", "source"], ascending=[False, True])


def _report_aside(aside: pd.DataFrame, everything: bool) -> int:
    """Print who was excluded, kind by kind; return how many need mending."""
    harmless = aside["reason"].astype(str).str.startswith(HARMLESS)
    for title, rows in {"problem": aside[~harmless], "note": aside[harmless]}.items():
        if not len(rows):
            continue
        click.echo(f"{title}: {len(rows)} excluded")
        shown = rows if everything or title == "problem" else rows.head(SHOWN)
        for row in shown.itertuples():
            click.echo(f"  {row.path}: {row.reason}")
        if len(rows) > len(shown):
            click.echo(f"  and {len(rows) - len(shown)} more (--all names them)")
    return int((~harmless).sum())


def _counts(counts: dict) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items())


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}-{high}"


def _table(rows: pd.DataFrame) -> str:
    """Align columns to the left, as wide as their longest entry."""
    text = rows.astype(str)
    widths = [max(len(name), *text[name].str.len()) if len(text) else len(name) for name in text]
    lines = [list(text.columns), *text.to_numpy().tolist()]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
