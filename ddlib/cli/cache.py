"""``ddlib cache``: what the store of prepared images and features holds."""

from __future__ import annotations

import datetime

import click

from ddlib.data.cache import GIGABYTE, Cache


@click.group("cache")
def command():
    """Show or clear the store of prepared images and features."""


@command.command()
def info():
    """List what is stored, longest unused first."""
    cache = Cache()
    entries = cache.entries()
    for entry in entries:
        used = datetime.datetime.fromtimestamp(entry["used"]).strftime("%Y-%m-%d %H:%M")
        size = entry["bytes"] / 1e6
        click.echo(f"{used}  {entry['kind']:<9} {size:9.1f} MB  {entry['folder'].name}")
    total = sum(entry["bytes"] for entry in entries) / GIGABYTE
    click.echo(f"{cache.root}: {len(entries)} arrays, {total:.2f} of {cache.limit:g} GB")


@command.command()
def clear():
    """Remove everything that is stored; it is made again when needed."""
    cache = Cache()
    click.echo(f"freed {cache.clear() / GIGABYTE:.2f} GB in {cache.root}")
