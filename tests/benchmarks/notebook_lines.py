"""Count the lines of ddlib that notebooks 00 to 07 execute in their small form: `make lines`.

A lesson's machinery is to stay small. A line is a statement, as coverage counts; definitions and
imports of every module that is loaded are among them.
"""

import os
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from IPython.display import display

ROOT = Path(__file__).resolve().parents[2]
MOST = 4_000


def execute(path, runs):
    """Run the code cells of a notebook in this process, with the parameters of its small form."""
    names = {"__name__": "__main__", "display": display}  # as a kernel has it
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, path.name, "exec"), names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= {"runs": runs, "small": True}


def main():
    """Print the lines of each folder and of all; exit status 1 if they are more than `MOST`."""
    import coverage  # this alone needs it

    os.environ.setdefault("MPLBACKEND", "agg")
    counter, counts = coverage.Coverage(data_file=None, source_pkgs=["ddlib"]), Counter()
    with TemporaryDirectory() as runs, counter.collect():
        for path in sorted((ROOT / "notebooks").glob("0[0-7]_*.ipynb")):
            print(path.stem, flush=True)
            execute(path, runs)
    for file in counter.get_data().measured_files():
        _, statements, _, missing, _ = counter.analysis2(file)
        counts[Path(file).relative_to(ROOT / "ddlib").parts[0]] += len(statements) - len(missing)
    for folder, lines in counts.most_common():
        print(f"{lines:6,} {folder}")
    print(f"{counts.total():6,} lines of ddlib in notebooks 00 to 07; at most {MOST:,} are to be")
    sys.exit(counts.total() > MOST)


if __name__ == "__main__":
    main()
