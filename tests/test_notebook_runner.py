"""Notebooks made here are run as a user runs them: passed parameters, failed, reused, stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from click.testing import CliRunner

import ddlib
from ddlib.__main__ import main
from ddlib.cli import notebook_process
from ddlib.cli import notebook_runner as runner
from ddlib.cli.notebook_process import NotebookError, read_notebook
from ddlib.cli.notebook_runner import declared_parameters, find_notebooks, run_notebooks
from ddlib.data.manifest import MissingImagesError

PARAMETERS = 'data = "simulated"\nruns = "../runs"\nsmall = False\nalpha = None'


def write(folder, name, *cells, after=None, text="# Title", parameters=PARAMETERS):
    """Write a notebook: text, the cell of parameters, and more code cells."""
    made = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell(parameters)]
    made[1].metadata["tags"] = ["parameters"]
    made += [nbformat.v4.new_code_cell(source) for source in cells]
    notebook = nbformat.v4.new_notebook(cells=made)
    if after is not None:
        notebook.metadata["ddlib"] = {"after": after}
    nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with two notebooks; papermill fills in what stands in braces."""
    folder = tmp_path / "lab {2024}"
    (folder / "notebooks").mkdir(parents=True)
    write(folder, "00_one", "print('alpha is', alpha)")
    write(folder, "01_two", "print(2)")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def executed(monkeypatch):
    """The names of the notebooks in the order they ran, with a stand-in for papermill."""
    names = []

    def execute(notebook, target, parameters, log_file, stop):
        names.append(notebook.stem)
        if "1 / 0" in notebook.read_text():
            raise NotebookError(f"{notebook.name} failed")
        target.write_text("{}")
        return 100.0, ""

    monkeypatch.setattr(runner, "execute_notebook", execute)
    return names


def run(*chosen, **options):
    return run_notebooks(chosen, folder="notebooks", **options)


def outputs(path):
    """Return everything that the cells of an executed copy printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(out.get("text", "") for cell in cells for out in cell.get("outputs", []))


@pytest.fixture
def hostile_home(place, monkeypatch):
    """A home with another kernel and a start-up file, both of which would fail."""
    decoy = place / "home" / ".local" / "share" / "jupyter" / "kernels" / "python3"
    startup = place / "home" / ".ipython" / "profile_default" / "startup"
    decoy.mkdir(parents=True)
    startup.mkdir(parents=True)
    spec = {"argv": ["no-such-python", "{connection_file}"], "display_name": "x", "language": "x"}
    (decoy / "kernel.json").write_text(json.dumps(spec))
    (startup / "00.py").write_text("raise SystemExit('the start-up file of the user ran')")
    monkeypatch.setenv("HOME", str(place / "home"))
    monkeypatch.setenv("JUPYTER_PATH", str(decoy.parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(startup.parents[1]))
    monkeypatch.setenv("KERAS_HOME", "keras")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)


def test_a_run_keeps_copies_markers_and_logs_of_notebooks_as_students_save_them(
    place, hostile_home
):
    write(
        place,
        "00_one",
        "import os, sys, ddlib\nprint('alpha is', alpha)",
        "print(sys.executable, ddlib.__file__, sep='\\n')",
        "print(os.environ['KERAS_HOME'], os.environ['TF_NUM_INTRAOP_THREADS'], sep='\\n')",
    )
    path = place / "notebooks" / "00_one.ipynb"
    path.write_text(path.read_text(), encoding="utf-8-sig")  # with a byte order mark
    view = "application/vnd.jupyter.widget-view+json"
    shows = f"display({{'{view}': {{}}, 'text/html': 'static', 'text/plain': ''}}, raw=True)"
    source = f"print('old')\n{shows}"
    old = {"cell_type": "code", "input": source, "language": "python", "outputs": []}
    old |= {"collapsed": False, "prompt_number": 3, "metadata": {}}
    document = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}}
    document["worksheets"] = [{"cells": [old], "metadata": {}}]
    (place / "notebooks" / "01_two.ipynb").write_text(json.dumps(document))
    lines = []
    before = dict(os.environ)
    outcomes = run(alpha=1e-05, jobs=1, log=lines.append)
    assert os.environ == before
    assert [outcome.name for outcome in outcomes] == ["00_one", "01_two"]
    assert all(outcome.peak_mb > 10 and outcome.status == "done" for outcome in outcomes)
    copies = place / "runs" / "simulated" / "notebooks"
    names = sorted(path.name for path in copies.iterdir())
    assert names == ["00_one.ipynb", "00_one.json", "01_two.ipynb", "01_two.json"]
    # the kernel is this Python whatever the home holds; cells run in the notebook's folder, so a
    # relative folder of the user's is made absolute
    expected = ["alpha is 1e-05", sys.executable, ddlib.__file__, str(place / "keras"), "2"]
    assert outputs(copies / "00_one.ipynb").splitlines() == expected
    assert outputs(copies / "01_two.ipynb") == "old\n"
    text = (copies / "01_two.ipynb").read_text()
    assert "static" in text and text.count(view) == 1  # in the source alone
    # no path of this machine
    assert str(place) not in text and tempfile.gettempdir() not in text
    passed = json.loads((copies / "00_one.json").read_text())["parameters"]
    assert passed == {"data": "simulated", "runs": "../runs", "small": False, "alpha": 1e-05}
    assert "alpha is 1e-05" in (copies.parent / "logs" / "00_one.txt").read_text()
    assert lines[0] == "[1/2] 00_one: started"
    assert re.fullmatch(r"\[1/2\] 00_one: done, [\d.]+ s, [\d,]+ MB", lines[1])

    again = run(alpha=1e-05, log=lines.append)
    assert [outcome.status for outcome in again] == ["reused", "reused"]
    assert lines[-1].startswith("[2/2] 01_two: reused")


def test_lacking_images_stop_one_notebook_alone_and_a_failing_cell_is_named_as_readers_count(place):
    lacking = f"class {MissingImagesError.__name__}(ValueError): pass"
    write(place, "00_one", f"{lacking}\nraise MissingImagesError('no GAN fakes')", "print('never')")
    write(place, "01_two", "a = 1", "\n# why\n1 / 0", "print('never')")
    first, second = run(alpha=0.5)
    assert (first.status, first.error) == ("lacks images", "no GAN fakes")
    told = r"01_two.ipynb, cell 4 of 5 \(`# why`\): ZeroDivisionError: division by zero"
    assert second.status == "failed" and re.match(told, second.error)
    copies = place / "runs" / "simulated" / "notebooks"
    assert [path.name for path in copies.glob("*.failed.ipynb")] == ["01_two.failed.ipynb"]
    assert len(list(copies.glob("01_two*"))) == 1  # and no marker
    cells = nbformat.read(copies / "01_two.failed.ipynb", as_version=4).cells
    assert cells[0].source == "# Title" and len(cells) == 6  # the injected cell and no banner
    assert "ZeroDivisionError" in (copies.parent / "logs" / "01_two.txt").read_text()
    (again,) = run("0", alpha=0.5)
    assert (again.status, again.error) == ("lacks images", "no GAN fakes")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal to send here")
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_a_stopped_or_killed_command_leaves_no_process(place, how):
    how = getattr(signal, how)  # Windows does not even know the second
    (place / "runs").mkdir()
    wait = "import subprocess\nopen(f'{runs}/begun', 'w')\nsubprocess.run(['sleep', '60'])"
    write(place, "00_one", wait)
    # a shell may have started the tests with SIGINT ignored
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from ddlib.cli.notebook_runner import run_notebooks\n"
        "run_notebooks(['0'], folder='notebooks')"
    )
    process = psutil.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    until((place / "runs" / "begun").exists)
    until(lambda: len(process.children(recursive=True)) >= 3)  # papermill, kernel, sleep
    family = [child.pid for child in process.children(recursive=True)]
    process.send_signal(how)
    told = process.communicate(timeout=60)[1]
    assert ("KeyboardInterrupt" in told) == (how == signal.SIGINT)
    if how == signal.SIGKILL:  # the child of a killed kernel is nobody's any more
        family.pop()
    until(lambda: not any(is_alive(pid) for pid in family))
    assert not list((place / "runs" / "simulated" / "notebooks").glob("0*"))


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(happened):
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize(("lost", "status"), [(1, "done"), (3, "failed")])
def test_a_kernel_that_does_not_start_is_started_again(place, monkeypatch, lost, status):
    papermill, tries = notebook_process._papermill, []

    def sometimes(notebook, copy, *more):
        tries.append(notebook)
        if len(tries) > lost:
            return papermill(notebook, copy, *more)
        given = read_notebook(notebook)
        given.metadata["papermill"] = {}
        nbformat.write(given, copy)  # as papermill leaves it where another program took a port
        return 1, 100.0

    monkeypatch.setattr(notebook_process, "_papermill", sometimes)
    (outcome,) = run("00", log=len)
    assert outcome.status == status and len(tries) == min(lost + 1, 3)
    assert ("the kernel did not start in 3 tries" in outcome.error) == (status == "failed")


def test_each_notebook_waits_for_those_it_comes_after(place, executed, monkeypatch):
    write(place, "02_three", after=["00_one"])
    write(place, "03_four", after=["02_three"])
    write(place, "04_five")
    fast, begun = runner.execute_notebook, threading.Event()

    def execute(notebook, *rest):
        if notebook.stem == "01_two":
            assert begun.wait(60)  # the fourth needs the first and the third only
        if notebook.stem == "03_four":
            begun.set()
        return fast(notebook, *rest)

    monkeypatch.setattr(runner, "execute_notebook", execute)
    outcomes = run(jobs=2)
    assert executed[:2] == ["00_one", "02_three"] and executed[-1] == "04_five"
    assert [outcome.name for outcome in outcomes] == sorted(executed)


@pytest.mark.parametrize("after", [["01_two"], ["00_none"]])
def test_a_notebook_comes_after_earlier_ones_only(place, after):
    write(place, "00_one", after=after)
    with pytest.raises(ValueError, match=f"00_one.ipynb is to run after '{after[0]}', which is no"):
        run()


def test_what_makes_a_notebook_decides_whether_it_runs_again(place, executed, monkeypatch):
    def ran(**options):
        executed.clear()
        run(jobs=1, **options)
        return list(executed)

    write(place, "02_three", after=[])
    assert ran() == ["00_one", "01_two", "02_three"]
    write(place, "00_one", "print('alpha is', alpha)", text="# Other title")
    assert ran() == []
    write(place, "00_one", "print('changed')")
    assert ran() == ["00_one", "01_two"]  # the second may read what the first left
    write(place, "01_two", "print(3)", parameters="alpha = 1")
    assert ran() == ["01_two"]
    assert ran(alpha=0.5) == ["00_one", "01_two", "02_three"]
    monkeypatch.setattr(runner, "VERSIONS", [99])
    assert ran(alpha=0.5) == ["00_one", "01_two", "02_three"]
    (place / "runs" / "simulated" / "notebooks" / "02_three.ipynb").unlink()
    assert ran(alpha=0.5) == ["02_three"]

    image = place / "images" / "a.jpg"
    image.parent.mkdir()
    image.write_bytes(b"12")
    assert len(ran(data="images")) == 3 and ran(data="images") == []
    (image.parent / ".DS_Store").write_text("as macOS leaves it in a folder that was looked at")
    assert ran(data="images") == []
    os.utime(image, ns=(1, 1))
    assert len(ran(data="images")) == 3


def test_a_notebook_runs_again_once_those_before_it_have_run(place, executed):
    run("1")
    os.utime(place / "runs" / "simulated" / "notebooks" / "01_two.json", ns=(1, 1))
    run("0")
    assert [outcome.status for outcome in run()] == ["reused", "done"]
    assert [outcome.status for outcome in run()] == ["reused", "reused"]


def test_keep_going_runs_all_but_what_comes_after_the_failed_one(place, executed):
    write(place, "00_one", "1 / 0")
    write(place, "01_two", after=["00_one"])
    write(place, "02_three", after=["01_two"])
    write(place, "03_four", "1 / 0", after=[])
    write(place, "04_five", after=[])
    outcomes = run(jobs=1, keep_going=True)
    states = ["failed", "not started", "not started", "failed", "done"]
    assert [outcome.status for outcome in outcomes] == states
    assert executed == ["00_one", "03_four", "04_five"]
    assert [outcome.status for outcome in run(jobs=1)] == ["failed"] + ["not started"] * 4


def test_the_command_prints_one_json_document_for_ci(place, executed):
    def call(*words):
        done = CliRunner().invoke(
            main, ["run", "--notebooks", "notebooks", "--runs", "runs", *words]
        )
        return done.exit_code, done

    status, done = call("--json")
    document = json.loads(done.stdout)
    assert status == 0 and Path(document["folder"]) == Path("runs/simulated")
    assert [row["status"] for row in document["notebooks"]] == ["done", "done"]
    write(place, "00_one", "1 / 0")
    status, done = call("--json", "--data", "simulated")
    rows = {row["name"]: row for row in json.loads(done.stdout)["notebooks"]}
    assert status == 1 and rows["00_one"]["error"] == "00_one.ipynb failed"
    assert rows["01_two"]["status"] == "not started"
    status, done = call()
    assert status == 1 and "Failed: 00_one.ipynb failed" in done.stderr
    status, done = call("9")
    assert status == 2 and "no notebook is called '9'; there are: 00_one, 01_two" in done.stderr


def test_fresh_removes_an_earlier_run_and_nothing_else(place, executed):
    run()
    (place / "runs" / "simulated" / "results.csv").write_text("old")
    run(fresh=True)
    assert len(executed) == 4 and not (place / "runs" / "simulated" / "results.csv").exists()
    mine = place / "runs" / "simulated-small" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(ValueError, match="no folder logs, so it is no earlier run"):
        run(small=True, fresh=True)
    assert mine.exists()


@pytest.mark.parametrize("choice", ["1", "01", "two", "notebooks/01_two.ipynb"])
def test_a_notebook_is_chosen_by_number_or_name(place, choice):
    assert [path.stem for path in find_notebooks(place / "notebooks", [choice])] == ["01_two"]


def test_the_cell_of_parameters_may_hold_more_than_literals(place):
    lines = "%matplotlib inline\n!ls\nalpha = None  # width\nruns= '..'\nsmall == 1\nx, y = 1, 2"
    lines += "\ndata: str = 'simulated'\n%env A=1"
    write(place, "02_odd", parameters=lines)
    notebook = nbformat.read(place / "notebooks" / "02_odd.ipynb", as_version=4)
    assert declared_parameters(notebook) == {"alpha", "runs", "data"}


def test_wrong_input_is_named_before_anything_runs(place):
    with pytest.raises(ValueError, match="no notebook is called '9'; there are: 00_one, 01_two"):
        run("9")
    with pytest.raises(ValueError, match="has a parameter 'colour'; they have alpha, data"):
        run(colour="blue")
    with pytest.raises(ValueError, match="no folder 'nowhere'; give a folder of images"):
        run(data="nowhere")
    assert not (place / "runs").exists()


@pytest.mark.parametrize("damage", ["{}", "[]", "\x00"])
def test_a_damaged_marker_counts_as_absent(place, executed, damage):
    run("0")
    (place / "runs" / "simulated" / "notebooks" / "00_one.json").write_text(damage)
    assert run("0")[0].status == "done" and run("0")[0].status == "reused"


def test_an_unreadable_notebook_is_named_and_nobody_is_told_to_delete_it(place):
    path = place / "notebooks" / "01_two.ipynb"
    whole = path.read_text()
    for text, told in {
        whole[:-40]: "JSON",
        "": "JSON",
        "[]": "",
        '{"nbformat": 4}': "cells",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=f"01_two.ipynb cannot be read as a notebook.*{told}"):
            run()
        assert path.read_text() == text
