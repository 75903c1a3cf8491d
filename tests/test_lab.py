"""Notebooks made here are run by the command, as a user would: told, failed, resumed, stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from ddlib.cli.execution import NotebookError
from ddlib.cli.runner import (
    declared_parameters,
    find_notebooks,
    ingredients,
    minutes_ahead,
    run_notebooks,
    usual_jobs,
)

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 'data = "simulated"\nruns = "../runs"\nsmall = False\nalpha = None\ncount = 3'


def write(folder, name, *cells, parameters=PARAMETERS):
    """Write a notebook with a cell of parameters and more code cells."""
    made = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell(parameters)]
    made[1].metadata["tags"] = ["parameters"]
    made += [nbformat.v4.new_code_cell(source) for source in cells]
    folder.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=made), folder / f"{name}.ipynb")


@pytest.fixture
def place(tmp_path):
    """A folder of two notebooks that leave a file each."""
    folder = tmp_path / "notebooks"
    write(folder, "00_one", "print('alpha is', alpha)", "open(f'{runs}/one', 'a').write('x')")
    write(folder, "01_two", "open(f'{runs}/two', 'a').write('x')")
    return tmp_path


def run(place, *arguments, **environment):
    """Run the command in a process of its own, as the shell does."""
    return subprocess.run(
        command(place, *arguments),
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def command(place, *arguments):
    return [sys.executable, "-m", "ddlib", "run", "--notebooks", place / "notebooks", *arguments]


def outputs(path):
    """Return everything the cells of an executed copy printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(out.get("text", "") for c in cells for out in c.get("outputs", []))


def test_a_run_keeps_copies_markers_and_log_and_a_second_one_reuses_them(place):
    first = run(place, "--alpha", "0.5")
    assert first.returncode == 0, first.stderr
    copies = place / "runs" / "simulated" / "notebooks"
    assert sorted(path.name for path in copies.iterdir()) == [
        *("00_one.ipynb", "00_one.json", "01_two.ipynb", "01_two.json")
    ]
    assert outputs(copies / "00_one.ipynb") == "alpha is 0.5\n"
    facts = json.loads((copies / "00_one.json").read_text())
    expected = {"data": "simulated", "runs": "../runs", "small": False, "alpha": 0.5}
    assert facts["parameters"] == expected
    assert facts["seconds"] > 0 and facts["peak_mb"] > 10  # no Python needs less
    logs = [(place / "runs/simulated/logs" / f"{name}.txt").read_text() for name in ("00_one", "01_two")]
    assert "alpha is 0.5" in logs[0] and "00_one done" in logs[0] and "01_two done" in logs[1]
    assert re.search(
        r"\[1/2\] 00_one: started\n\[1/2\] 00_one: done, [\d.]+ s, \d+ MB", first.stdout
    )

    second = run(place, "--alpha", "0.5")
    assert second.returncode == 0 and second.stdout.count("reused (it took") == 2
    assert (place / "runs" / "one").read_text() == "x"  # its cells ran once


def test_what_made_a_notebook_decides_whether_it_runs_again(place):
    def keys(folder=place / "notebooks", data="simulated", **parameters):
        return ingredients(folder, data, parameters)

    before = keys()
    assert keys(alpha=0.5)["00_one"] != before["00_one"]
    write(place / "notebooks", "01_two", "'changed'")
    assert keys()["00_one"] == before["00_one"] and keys()["01_two"] != before["01_two"]
    write(place / "notebooks", "00_one", "'changed'")  # the second may read what the first left
    assert keys()["01_two"] not in (before["01_two"], None)
    images = place / "images"
    images.mkdir()
    with_none = keys(data=images)
    (images / "a.jpg").write_bytes(b"12")
    with_one = keys(data=images)
    assert with_none["00_one"] != with_one["00_one"]
    os.utime(images / "a.jpg", ns=(1, 1))
    assert keys(data=images)["00_one"] != with_one["00_one"]


def test_outputs_stored_by_an_editor_do_not_make_a_notebook_run_again(place):
    path = place / "notebooks" / "00_one.ipynb"
    before = ingredients(path.parent, "simulated", {})
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="alpha is 1\n")]
    notebook.cells[2].execution_count = 7
    nbformat.write(notebook, path)
    assert ingredients(path.parent, "simulated", {}) == before


def test_a_failing_notebook_names_cell_line_and_error_and_resumes_after_the_mend(place):
    write(place / "notebooks", "01_two", "a = 1", "\n# why\n1 / 0", "print('never')")
    failed = run(place)
    assert failed.returncode == 1
    assert "01_two.ipynb, cell 4 of 5 (`# why`): ZeroDivisionError: division by zero" in (
        failed.stderr
    )
    assert str(Path("runs", "simulated", "notebooks", "01_two.failed.ipynb")) in failed.stderr
    copies = place / "runs" / "simulated" / "notebooks"
    assert not (copies / "01_two.ipynb").exists() and not (copies / "01_two.json").exists()
    assert "ZeroDivisionError" in (copies / "01_two.failed.ipynb").read_text()
    assert "ZeroDivisionError" in (copies.parent / "logs/01_two.txt").read_text()

    write(place / "notebooks", "01_two", "print('mended')")
    mended = run(place)
    assert mended.returncode == 0 and "00_one: reused" in mended.stdout
    assert outputs(copies / "01_two.ipynb") == "mended\n"
    assert not (copies / "01_two.failed.ipynb").exists()


def test_a_kernel_that_dies_is_told_and_its_copy_is_left(place):
    dying = "import os; os.write(2, b'last words of a library'); os._exit(9)"
    write(place / "notebooks", "00_one", "print('here')", dying)
    failed = run(place, "0")
    assert failed.returncode == 1
    assert "00_one.ipynb: its Python process ended before the notebook did" in failed.stderr
    assert outputs(place / "runs/simulated/notebooks/00_one.failed.ipynb") == "here\n"
    assert "last words of a library" in (place / "runs/simulated/logs/00_one.txt").read_text()
    assert "last words" not in failed.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal to send here")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_of_a_cell_nothing_is_left_and_it_resumes(place, number):
    wait = "import os, time\nopen(f'{runs}/pid', 'w').write(str(os.getpid()))\ntime.sleep(60)"
    write(place / "notebooks", "01_two", wait)
    process = subprocess.Popen(
        command(place),
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pid = place / "runs" / "pid"
    _until(lambda: pid.exists() and pid.read_text())
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.startswith("Stopped. What finished is kept") and "Traceback" not in told
    _until(lambda: not psutil.pid_exists(int(pid.read_text())))  # the kernel is gone
    copies = place / "runs" / "simulated" / "notebooks"
    assert sorted(path.name for path in copies.iterdir()) == ["00_one.ipynb", "00_one.json"]

    write(place / "notebooks", "01_two", "print('whole')")
    again = run(place)
    assert again.returncode == 0 and "00_one: reused" in again.stdout
    assert outputs(copies / "01_two.ipynb") == "whole\n"


def _until(happened, seconds=60):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_what_a_killed_run_left_is_cleared_away(place):
    copies = place / "runs" / "simulated" / "notebooks"
    copies.mkdir(parents=True)
    (copies / ".0123.ipynb").write_text("half")
    assert run_notebooks((), runs=place / "runs", folder=_none(place)) == []
    assert not (copies / ".0123.ipynb").exists()


def _none(place):
    (place / "empty").mkdir()
    return place / "empty"


def test_fresh_removes_the_tier_and_only_a_tier(place):
    folder, runs = _none(place), place / "runs"
    run_notebooks((), runs=runs, folder=folder)
    (runs / "simulated" / "results.csv").write_text("old")
    (runs / "simulated-small").mkdir()
    (runs / "simulated-small" / "thesis.txt").write_text("mine")
    run_notebooks((), runs=runs, folder=folder, fresh=True)
    assert not (runs / "simulated" / "results.csv").exists()
    with pytest.raises(ValueError, match="no folder logs, so it is no earlier run"):
        run_notebooks((), runs=runs, folder=folder, small=True, fresh=True)
    assert (runs / "simulated-small" / "thesis.txt").read_text() == "mine"


def test_the_kernel_is_this_python_whatever_the_home_holds(place):
    home = place / "home"
    decoy = home / "share" / "jupyter" / "kernels" / "python3"
    decoy.mkdir(parents=True)
    spec = {"argv": ["no-such-python", "{connection_file}"], "display_name": "x", "language": "x"}
    (decoy / "kernel.json").write_text(json.dumps(spec))
    startup = home / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("raise SystemExit('the start-up file of the user ran')")
    write(
        place / "notebooks",
        "00_one",
        "import os, sys; print(sys.executable)",
        "print(os.environ['KERAS_HOME'])",
    )
    told = run(
        *(place, "one"),
        JUPYTER_PATH=str(home / "share" / "jupyter"),
        JUPYTER_DATA_DIR=str(home / "share" / "jupyter"),
        IPYTHONDIR=str(home / "ipython"),
        KERAS_HOME="keras",
    )
    assert told.returncode == 0, told.stderr
    copy = place / "runs" / "simulated" / "notebooks" / "00_one.ipynb"
    # cells run in the notebook's folder, so a relative folder of the user's is made absolute
    assert outputs(copy).splitlines() == [sys.executable, str(place / "keras")]


def test_what_a_cell_wrote_to_a_file_that_it_left_open_is_kept(place):
    write(
        place / "notebooks",
        "00_one",
        "kept = open(f'{runs}/open', 'w'); kept.write('whole')",
        "import atexit; atexit.register(print, 'bye', file=open(f'{runs}/bye', 'w'))",
    )
    assert run(place, "one").returncode == 0
    assert (place / "runs" / "open").read_text() == "whole"
    assert (place / "runs" / "bye").read_text() == "bye\n"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that even root cannot write")
def test_a_home_that_cannot_be_written_is_no_obstacle(place):
    hidden = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/proc/nowhere")
    write(
        place / "notebooks", "00_one", "import matplotlib.pyplot as plt; print(len(plt.plot([1])))"
    )
    told = run(place, "00", **hidden)
    assert told.returncode == 0, told.stderr
    assert "1\n" in outputs(place / "runs" / "simulated" / "notebooks" / "00_one.ipynb")


@pytest.mark.parametrize(
    "choice", ["1", "01", "two", "01_two", "01_two.ipynb", "notebooks/01_two.ipynb"]
)
def test_a_notebook_is_chosen_by_number_or_name(place, choice):
    assert [p.stem for p in find_notebooks(place / "notebooks", [choice])] == ["01_two"]


def test_chosen_notebooks_keep_their_order_and_unknown_ones_are_refused(place):
    found = find_notebooks(place / "notebooks", ["two", "0"])
    assert [path.stem for path in found] == ["00_one", "01_two"]
    with pytest.raises(ValueError, match="no notebook is called '9'; there are: 00_one, 01_two"):
        find_notebooks(place / "notebooks", ["9"])


def test_the_cell_of_parameters_holds_literals_only(place):
    found = declared_parameters(place / "notebooks" / "00_one.ipynb")
    assert found == {
        "data": "simulated",
        "runs": "../runs",
        "small": False,
        "alpha": None,
        "count": 3,
    }
    for line in ("x = len('a')", "import os", "x, y = 1, 2", "x = y = 1", "x += 1"):
        write(place / "notebooks", "02_bad", parameters=line)
        with pytest.raises(ValueError, match="02_bad.ipynb: .* is not of the form name = literal"):
            declared_parameters(place / "notebooks" / "02_bad.ipynb")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "nowhere"), "no folder 'nowhere'; data is 'simulated' or a folder of images"),
        (("7",), "no notebook is called '7'; there are: 00_one, 01_two"),
        (("--alpha", "0"), "0.0 is not in the range x>0"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(place, arguments, message):
    told = run(place, *arguments)
    assert told.returncode in (1, 2)
    assert message in told.stderr and "Traceback" not in told.stderr
    assert not (place / "runs").exists()


def test_an_option_that_no_notebook_takes_is_named(place):
    with pytest.raises(ValueError, match="has a parameter 'colour'; they have alpha"):
        run_notebooks(runs=place / "runs", folder=place / "notebooks", colour="blue")


def test_a_failure_inside_python_is_an_exception_of_its_own(place):
    write(place / "notebooks", "00_one", "raise KeyError('gone')")
    with pytest.raises(NotebookError, match=r"cell 3 of 3 .*KeyError: 'gone'"):
        run_notebooks(["0"], runs=place / "runs", folder=place / "notebooks", log=lambda _: None)
    assert "JUPYTER_RUNTIME_DIR" not in os.environ


def after(folder, name, *names, **more):
    """Say in a notebook's metadata which ones it needs, and maybe its minutes."""
    path = folder / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["ddlib"] = {"after": list(names), **more}
    nbformat.write(notebook, path)


MEET = """
import pathlib, time
end = time.monotonic() + 60
pathlib.Path(runs, mine).touch()
while not pathlib.Path(runs, other).exists():
    assert time.monotonic() < end, "the other one does not run"
    time.sleep(0.05)
"""


def test_two_notebooks_that_do_not_need_each_other_run_at_once(place):
    folder = place / "notebooks"
    write(folder, "01_two", "mine, other = 'a', 'b'" + MEET)
    write(folder, "02_three", "mine, other = 'b', 'a'" + MEET)
    write(folder, "03_four", "import os; assert os.path.exists(f'{runs}/b')")
    after(folder, "02_three", "00_one")
    told = run(place, "--jobs", "2")
    assert told.returncode == 0, told.stderr
    # the last names none, so it waits for all; the table keeps the order of the notebooks
    told = told.stdout
    assert told.index("[4/4] 03_four: started") > told.index("[2/4] 01_two: done")
    table = told[told.index("notebook ") :]
    assert [word for word in table.split() if word[:1] == "0" and "_" in word] == [
        *("00_one", "01_two", "02_three", "03_four")
    ]
    facts = json.loads((place / "runs/simulated/notebooks/02_three.json").read_text())
    assert facts["at_once"] == 2


def test_when_one_fails_the_other_ends_and_nothing_more_starts(place):
    folder = place / "notebooks"
    fail = "mine, other = 'a', 'b'" + MEET + "\n1 / 0"
    told = "toy/notebooks/01_two.failed.ipynb"  # is there before the failure is noticed
    wait = f"mine, other = 'b', {told!r}" + MEET + "\ntime.sleep(3)"
    write(folder, "01_two", fail)
    write(folder, "02_three", wait)
    write(folder, "03_four", "'never'")
    after(folder, "02_three", "00_one")
    told = run(place, "--jobs", "2")
    assert told.returncode == 1
    assert "01_two.ipynb, cell 3 of 3" in told.stderr
    assert "02_three: still running, to its end" in told.stdout
    assert "02_three: done" in told.stdout and "03_four" not in told.stdout


def test_what_takes_longest_with_its_successors_starts_first(place):
    folder = place / "notebooks"
    write(folder, "01_two", "1")
    write(folder, "02_three", "1")
    write(folder, "03_four", "1")
    after(folder, "00_one", minutes=1)
    after(folder, "01_two", "00_one", minutes=2)
    after(folder, "02_three", "00_one", minutes=1)
    after(folder, "03_four", "00_one", "02_three", minutes=4)
    ahead = minutes_ahead(find_notebooks(folder))
    assert ahead == {"00_one": 6, "01_two": 2, "02_three": 5, "03_four": 4}

    started = []
    run_notebooks(runs=place / "runs", folder=folder, jobs=2, log=started.append)
    started = [line.split()[1] for line in started if line.endswith("started")]
    assert started[:3] == ["00_one:", "02_three:", "01_two:"]
    started.clear()
    run_notebooks(runs=place / "alone", folder=folder, jobs=1, log=started.append)
    assert [line.split()[1] for line in started if line.endswith("started")] == [
        *("00_one:", "01_two:", "02_three:", "03_four:")
    ]


def test_a_notebook_cannot_need_a_later_one(place):
    folder = place / "notebooks"
    after(folder, "00_one", "01_two")
    with pytest.raises(ValueError, match="00_one.ipynb is to run after 01_two, which does not"):
        run_notebooks((), runs=place / "runs", folder=folder, log=lambda _: None)


@pytest.mark.skipif(os.cpu_count() < 2, reason="needs two processors to share")
def test_kernels_that_run_at_once_share_the_processors(place):
    print_threads = "import os; print(os.environ.get('TF_NUM_INTRAOP_THREADS'))"
    for jobs, expected in (("1", "None\n"), ("2", f"{os.cpu_count() // 2}\n")):
        write(place / "notebooks", "00_one", print_threads, f"'{jobs}'")
        assert run(place, "0", "--jobs", jobs).returncode == 0
        assert outputs(place / "runs/simulated/notebooks/00_one.ipynb") == expected


@pytest.mark.parametrize(
    ("processors", "toy", "folder"), [(None, 1, 1), (1, 1, 1), (2, 2, 2), (16, 3, 2)]
)
def test_so_many_run_at_once_by_default(monkeypatch, processors, toy, folder):
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert usual_jobs("simulated") == toy and usual_jobs("faces") == folder
