"""Show or clear the cache of prepared images and features."""

import datetime
import sys

import click

from ddlib._utils import is_terminal
from ddlib.data.cache import GIGABYTE, Cache


@click.group("cache")
def command():
    """Show or clear the cache of prepared images and features."""


@command.command()
def info():
    """List what is stored, longest unused first."""
    cache = Cache()
    entries = cache.entries()
    for entry in entries:
        used = datetime.datetime.fromtimestamp(entry["used"])
        size = entry["bytes"] / 1e6
        click.echo(
            f"{used:%Y-%m-%d %H:%M}  {entry['kind']:<9} {size:9.1f} MB  {entry['folder'].name}"
        )
    total = sum(entry["bytes"] for entry in entries) / GIGABYTE
    click.echo(f"{cache.root}: {len(entries)} arrays, {total:.2f} of {cache.limit:g} GB")


@command.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(yes):
    """Remove everything that ddlib stored; it is made again when needed."""
    cache = Cache()
    if not yes:
        if not is_terminal(sys.stdin):
            raise click.UsageError(f"say --yes to clear {cache.root} without a question")
        click.confirm(f"Remove the {len(cache.entries())} arrays in {cache.root}?", abort=True)
    freed, left = cache.clear()
    click.echo(f"freed {freed / GIGABYTE:.2f} GB in {cache.root}")
    if left:
        click.echo(f"left, as they are not ddlib's: {', '.join(path.name for path in left)}")
