"""Copy the notebooks, with their exercises and solutions, to a folder."""

import click

from ddlib.cli.shared import FOLDER


@click.command("notebooks")
@click.argument("folder", type=FOLDER)
@click.option("--force", is_flag=True, help="Overwrite notebooks that were changed in FOLDER.")
def command(folder, force):
    """Copy the notebooks, with their exercises and solutions, to FOLDER.

    It needs no checkout of the repository. Where a notebook in FOLDER is not as ddlib has it,
    nothing is copied and it is named: JupyterLab changes a notebook when it saves outputs.

    Exit status: 0 copied, 1 a notebook was changed there.
    """
    from ddlib._utils import atomic_write
    from ddlib.cli.notebook_runner import find_notebooks
    from ddlib.models.provenance import repository_path

    contents = {p.name: p.read_bytes() for p in find_notebooks(repository_path("notebooks"))}
    there = {name: folder / name for name in contents if (folder / name).exists()}
    changed = [str(path) for name, path in there.items() if path.read_bytes() != contents[name]]
    if changed and not force:
        raise click.ClickException(
            f"changed, so nothing was copied: {', '.join(changed)}; choose another folder, or "
            "--force to overwrite"
        )
    for name, content in contents.items():
        with atomic_write(folder / name) as unfinished:
            unfinished.write_bytes(content)
    click.echo(f"{len(contents)} notebooks in {folder}; open them with: jupyter lab {folder}")
