"""List, fetch and check the data sets."""

import sys
from pathlib import Path

import click
import pandas as pd

from ddlib._utils import is_terminal, printable
from ddlib.cli.shared import EXISTING_FOLDER, FOLDER
from ddlib.data.manifest import ManifestError, Reason, check_manifest
from ddlib.data.public import TIERS, fetch_tier, read_list, require_space, terms
from ddlib.data.sources import (
    MANIFEST,
    fetch,
    find_sets,
    folder_warnings,
    load_sources,
    open_folder,
)
from ddlib.metrics.format import format_table
from ddlib.traces.shortcuts import shortcuts

SHOWN = 5  # excluded images of a kind to name unless --all is given
NAMED = 20  # pictures to name that could not be fetched for the same reason
BYTES_A_SECOND = 2_500_000  # that time is estimated for: 20 Mbit/s
# What training at width 1.0 keeps of an image: its 256 x 256 pixels, and its features and those of
# its mirror image, 8 x 8 x 512 in half precision
TRAINING_BYTES = 256 * 256 * 3 + 2 * 8 * 8 * 512 * 2

folder_option = click.option(
    "--data",
    "root",
    envvar="DDLIB_DATA",
    default="data",
    show_default=True,
    type=FOLDER,
    help="The data folder (also: DDLIB_DATA).",
)


@click.group("data")
def command() -> None:
    """List, fetch and check the data sets."""


@command.command("list")
@folder_option
def list_sets(root: Path) -> None:
    """List what can be fetched, the registered data sets, their terms, and what is here."""
    tiers = []
    for tier in TIERS:
        table = read_list(tier)
        size, where = f"{table['bytes'].sum() / 1e6:,.0f} MB", root / tier
        here = where.as_posix() if (where / MANIFEST).is_file() else ""
        tiers.append({"tier": tier, "pictures": len(table), "size": size, "where": here})
    click.echo(format_table(pd.DataFrame(tiers)) + "\n")
    found, rows, all_terms = find_sets(root), [], []
    copies = terms(read_list("large")).set_index("set")["copies from"]
    for source in load_sources().values():
        folder, counts = found.get(source.name, (None, {}))
        row = {"name": source.name, "what": source.what, "published": _counts(source.expected)}
        row |= {"here": _counts(counts), "fetched by": source.fetched_by}
        rows.append(row | {"where": "" if folder is None else folder.as_posix()})
        row = {"terms of": source.name, "of the original": source.licence, "original": source.page}
        row |= {"copies in sample and large from": copies.get(source.name, "")}
        all_terms.append(row | {"show or share": source.share})
    click.echo(format_table(pd.DataFrame(rows)) + "\n")
    click.echo(format_table(pd.DataFrame(all_terms)))


@command.command("fetch")
@click.argument("name", type=click.Choice([*TIERS, *load_sources()]))
@folder_option
@click.option("--accept", is_flag=True, help="Agree to the terms of sample or large unasked.")
@click.option("--without", default="", metavar="SETS", help="Leave out: celeba,dfdc for example.")
@click.option(
    "--mirror",
    envvar="DDLIB_MIRROR",
    help="Where else the repositories are, such as file:///srv/{owner}+{name} "
    "or http://host/{owner}/{name}/{commit}/{file} (also: DDLIB_MIRROR).",
)
@click.option("--url", help="A zip or tar archive of a registered set, such as a mirror.")
@click.option("--sha256", help="What the archive's SHA-256 must be.")
def fetch_set(name, root, accept, without, mirror, url, sha256) -> None:
    """Fetch the tier sample or large, or the data set NAME, into the data folder.

    An interrupted fetch is continued by the same command.

    Exit status: 0 all is there, 1 something is missing (it is named), 2 the terms were not
    accepted, or wrong usage.
    """
    if name in TIERS:
        if url or sha256:
            raise click.UsageError(f"--url and --sha256 are for registered sets, not for {name}")
        _fetch_tier(name, root, [word for word in without.split(",") if word], mirror, accept)
        return
    source = load_sources()[name]
    click.echo(f"{name}: {source.what}\nlicence: {source.licence} ({source.page})")
    click.echo(f"pictures may be shown or shared: {source.share}")
    if source.gigabytes:
        click.echo(_cost(int(source.gigabytes * 1e9), sum(source.expected.values())))
        require_space(root, int(2e9 * source.gigabytes))  # the archive, and what is in it
    elif not url:
        click.echo("size: not known here; its page may say")
    click.echo(f"{name}: complete in {fetch(name, root, url, sha256).as_posix()}")


def _fetch_tier(tier: str, root: Path, without: list[str], mirror: str | None, accept: bool):
    """Say what is fetched, its terms and cost; fetch it once they are accepted."""
    table = read_list(tier, without)
    click.echo(f"{tier}: {len(table):,} pictures of {table['set'].nunique()} sets. Their terms:\n")
    for row in terms(table).itertuples(index=False):
        click.echo(f"{row.set}: {row.pictures:,} of {row.what}")
        click.echo(f"  terms of the original: {row.terms} ({row.page})")
        click.echo(f"  copies from: {row[5]}\n  may be shown or shared: {row[6]}")
    click.echo("\nMost of these repositories state no licence for the images, and people in them")
    click.echo("were not asked. Use them to learn and to measure; --without SETS leaves sets out.")
    click.echo(_cost(int(table["bytes"].sum()), len(table)))
    if not accept:
        if not _asks():
            raise click.UsageError("say --accept if you agree to these terms; nothing was fetched")
        if click.prompt("Type yes if you agree to these terms").strip().lower() != "yes":
            raise click.UsageError("the terms were not accepted; nothing was fetched")
    folder, problems = fetch_tier(tier, root, without, mirror)
    click.echo(f"{tier}: {len(table) - len(problems):,} of {len(table):,} pictures in {folder}")
    by_reason: dict[str, list[str]] = {}
    for path, reason in problems.items():
        by_reason.setdefault(reason, []).append(path)
    for reason, paths in by_reason.items():
        click.echo(f"{len(paths)} {printable(reason)}")
        for path in paths[:NAMED]:
            click.echo(f"  {path}")
        if len(paths) > NAMED:
            click.echo(f"  and {len(paths) - NAMED} more; `ddlib data check {folder}` names all")
    if problems:
        click.echo("The others can be used. Run it again to try these once more.")
        sys.exit(1)


def _asks() -> bool:
    """Return whether somebody is there to answer."""
    return is_terminal(sys.stdin)


def _cost(n_bytes: int, n_images: int) -> str:
    """Return what fetching and training cost, in words."""
    minutes = max(1, round(n_bytes / BYTES_A_SECOND / 60))
    speed, kept = BYTES_A_SECOND * 8 / 1e6, _size(n_images * TRAINING_BYTES)
    text = f"size: {_size(n_bytes)}, about {minutes} min at {speed:.0f} Mbit/s; "
    text += "twice that on disk meanwhile"
    if n_images:
        text += f"\ntraining on all {n_images:,} at width 1.0 would keep up to {kept} in the "
        text += "cache, which holds DDLIB_CACHE_GB (20)"
    return text


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


@command.command()
@click.argument("root", envvar="DDLIB_DATA", default="data", type=EXISTING_FOLDER)
@click.option("--all", "everything", is_flag=True, help="Name every image that is excluded.")
def check(root: Path, everything: bool) -> None:
    """Read every image under ROOT and report counts, what was excluded and why, and shortcuts.

    Exit status: 0 all is well, 1 an image is broken or two splits share an image.
    """
    manifest = open_folder(root, progress=is_terminal(sys.stderr), strict=False)
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
        row |= {"format": "/".join(own["format"].value_counts().index)}
        row |= {"width": _range(own["width"]), "height": _range(own["height"])}
        rows.append(row | {"JPEG quality": _range(quality) if len(quality) else ""})
    return pd.DataFrame(rows).sort_values(["label", "source"], ascending=[False, True])


def _report_excluded(excluded: pd.DataFrame, everything: bool) -> int:
    """Print what was excluded, kind by kind; return how many files need mending."""
    problems = 0
    for kind, rows in excluded.groupby("kind", sort=False):
        needs_mending = kind == Reason.BROKEN
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
