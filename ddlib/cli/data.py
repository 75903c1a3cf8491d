"""List, fetch and check the data sets."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pandas as pd

from ddlib._io import printable
from ddlib.data.manifest import ManifestError, Reason, check_manifest
from ddlib.data.sources import fetch, find_sets, folder_warnings, load_sources, open_folder
from ddlib.metrics.format import format_table
from ddlib.traces.shortcuts import shortcuts

SHOWN = 5  # excluded images of a kind to name unless --all is given

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
    """List, fetch and check the data sets."""


@command.command("list")
@folder_option
def list_sets(root: Path) -> None:
    """List the registered data sets, what they hold and where they are found."""
    found, rows = find_sets(root), []
    for source in load_sources().values():
        folder, counts = found.get(source.name, (None, {}))
        rows.append(
            {
                "name": source.name,
                "what": source.what,
                "published": _counts(source.expected),
                "here": _counts(counts),
                "fetched by": source.fetched_by,
                "licence": source.licence,
                "where": "" if folder is None else folder.as_posix(),
            }
        )
    click.echo(format_table(pd.DataFrame(rows)))


@command.command("fetch")
@click.argument("name", type=click.Choice(list(load_sources())))
@folder_option
@click.option("--url", help="A zip or tar archive to fetch instead, such as a mirror.")
@click.option("--sha256", help="What the archive's SHA-256 must be.")
def fetch_set(name: str, root: Path, url: str | None, sha256: str | None) -> None:
    """Fetch the data set NAME into the data folder; an interrupted fetch is continued."""
    source = load_sources()[name]
    click.echo(f"{name}: {source.what}\nlicence: {source.licence} ({source.page})")
    click.echo(f"{name}: complete in {fetch(name, root, url, sha256).as_posix()}")


@command.command()
@click.argument(
    "root",
    envvar="DDLIB_DATA",
    default="data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@click.option("--all", "everything", is_flag=True, help="Name every image that is excluded.")
def check(root: Path, everything: bool) -> None:
    """Read every image under ROOT and report counts, what was excluded and why, and shortcuts.

    Exit status: 0 all is well, 1 an image is broken or two splits share an image.
    """
    manifest = open_folder(root, progress=sys.stderr.isatty(), strict=False)
    total = len(manifest) + len(manifest.excluded)
    click.echo(
        f"{root}: {total} files = {len(manifest)} images + {len(manifest.excluded)} excluded\n"
    )
    if len(manifest):
        click.echo(format_table(_summary(manifest.table)) + "\n")
    problems = _report_excluded(manifest.excluded, everything)
    table = manifest.table
    for line in (*shortcuts(table), *folder_warnings(table)) if len(manifest) else []:
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
        splits, quality = own["split"].value_counts(), own["jpeg_quality"].dropna()
        row = {"label": label, "source": printable(source)}
        row |= {split: splits.get(split, 0) for split in ("train", "valid", "test")}
        row |= {
            "format": "/".join(own["format"].value_counts().index),
            "width": _range(own["width"]),
            "height": _range(own["height"]),
            "JPEG quality": _range(quality) if len(quality) else "",
        }
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["label", "source"], ascending=[False, True])


def _report_excluded(excluded: pd.DataFrame, everything: bool) -> int:
    """Print what was excluded, kind by kind; return how many files need mending."""
    problems = 0
    for kind, rows in excluded.groupby("kind", sort=False):
        needs_mending = Reason(kind).needs_mending
        problems += len(rows) if needs_mending else 0
        click.echo(f"{'problem' if needs_mending else 'note'}: {len(rows)} excluded ({kind})")
        shown = rows if everything or needs_mending else rows.head(SHOWN)
        for row in shown.itertuples():
            click.echo(f"  {printable(row.path)}: {printable(row.reason)}")
        if len(rows) > len(shown):
            click.echo(f"  and {len(rows) - len(shown)} more (--all names them)")
    return problems


def _counts(counts: dict) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items())


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}-{high}"
