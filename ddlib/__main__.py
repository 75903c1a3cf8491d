"""The command line: ``ddlib COMMAND`` or ``python -m ddlib COMMAND``."""

import ast
import sys
from importlib import import_module
from pathlib import Path

import click

import ddlib
from ddlib._utils import printable

FOLDER = Path(__file__).parent / "cli"
COMMANDS = ("cache", "data", "explore", "export", "notebooks")
COMMANDS += ("predict", "report", "run", "sweep", "train")


class Commands(click.Group):
    """The commands in ``ddlib/cli``; ``--help`` reads their first lines and imports none."""

    def list_commands(self, ctx):
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx, name):
        """Import the one command that was called."""
        if name not in self.list_commands(ctx):
            return None
        return import_module(f"ddlib.cli.{name}").command

    def format_commands(self, ctx, formatter):
        """List the commands with the first line of their files."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, first_line(name)) for name in self.list_commands(ctx)])

    def main(self, *args, **options):
        """Run the command line; what a stream cannot write is written as an escape sequence."""
        for stream in (sys.stdout, sys.stderr):  # a file's name may hold what they cannot write
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        # patterns are expanded where they are read: not those that a file is called by
        return super().main(*args, windows_expand_args=False, **options)

    def invoke(self, ctx):
        """Run a command: exit status 1 and one message for an error, 130 when it was stopped."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Stopped.", err=True)
            raise SystemExit(130) from None
        except BrokenPipeError:  # `ddlib ... | head`: click ends quietly
            raise
        except (ValueError, OSError, FloatingPointError) as error:
            if ctx.params["debug"]:
                raise
            lines = map(printable, str(error).split("\n"))  # names may hold escape sequences
            raise click.ClickException("\n".join(lines)) from error


def first_line(name: str) -> str:
    """Return the first line of a command's file."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)).split("\n", 1)[0]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(ddlib.__version__, prog_name="ddlib")
def main(debug: bool) -> None:
    """Tell real face photographs from AI-generated ones, measure it, explain it.

    Exit status of every command: 0 all is well, 1 something failed or was set aside (it is named),
    2 wrong usage, 130 stopped.
    """


if __name__ == "__main__":
    main(prog_name="ddlib")
