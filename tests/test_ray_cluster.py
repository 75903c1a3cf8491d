"""Predict and sweep on Ray: the same numbers as on one machine, whatever is killed meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import toydetector
from click.testing import CliRunner
from PIL import Image

from ddlib.__main__ import main
from ddlib.cli import shared
from ddlib.deploy.ray_cluster import BLOCK, ClusterError, check_address, run_jobs

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason='the extra "ray" is not installed')
MANY = 10 * BLOCK  # pictures: enough blocks to lose some while others are finished
SMALLEST = ("--detector", "mobilenet025")
ENV = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of many pictures, named relative to where we are: four files, and a bad one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(toydetector.pictures(4)[0]):
        Image.fromarray(image).resize((1600, 1600)).save(tmp_path / f"{i}.jpg")
    (tmp_path / "4.jpg").write_bytes(b"no picture")
    for i in range(MANY):
        os.link(tmp_path / f"{i % 5}.jpg", folder / f"{i:04}.jpg")
    return folder.name


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of Ray on this machine, of one processor each."""
    from ray.cluster_utils import Cluster

    os.environ.update(ENV)  # each node finds this ddlib
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 10**8}
    started = Cluster(initialize_head=True, head_node_args=node)
    started.add_node(**node)
    yield started
    started.shutdown()


def start(*given):
    """Start ddlib as a terminal does: Ctrl-C there reaches all processes of its group."""
    words = [sys.executable, "-m", "ddlib", *map(str, given)]
    return subprocess.Popen(words, stdout=-1, stderr=-1, text=True, env=ENV, start_new_session=True)


def plain_csv(folder):
    """Return what the plain command prints."""
    return start("predict", folder, *SMALLEST, "--csv").communicate()[0]


def wait_for(condition, process):
    """Wait until a condition holds, as long as the process runs."""
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return found


def rows_in(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def scoring():
    """Return the processes of Ray that score pictures."""
    return [p for p in psutil.process_iter(["cmdline"]) if "_Worker" in str(p.info["cmdline"])]


@needs_ray
@pytest.mark.slow
def test_a_killed_job_runs_again_and_an_error_is_raised(cluster, tmp_path):
    def job(i):
        import os
        import signal

        mark = tmp_path / f"{i}"
        if i == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        mark.write_text(os.environ["OMP_NUM_THREADS"])
        if i == 9:
            raise ValueError("nine is too many")
        return i * i

    assert sorted(run_jobs(job, range(4), cluster.address, threads=1)) == [
        *((0, 0), (1, 1), (2, 4), (3, 9))
    ]
    assert {(tmp_path / f"{i}").read_text() for i in range(4)} == {"1"}
    with pytest.raises(ClusterError, match="nine is too many"):
        list(run_jobs(job, [9], cluster.address, threads=1))


@needs_ray
@pytest.mark.slow
def test_a_lost_process_and_a_lost_node_change_no_byte(pictures, cluster, tmp_path):
    table = tmp_path / "out.csv"
    told = ("predict", pictures, *SMALLEST, "--csv", table, "--ray", cluster.address)
    running = start(*told)
    wait_for(lambda: rows_in(table) > BLOCK, running)
    scoring()[0].kill()
    before = rows_in(table)
    wait_for(lambda: rows_in(table) > before, running)
    cluster.remove_node(list(cluster.worker_nodes)[0])
    output, errors = running.communicate()
    assert running.returncode == 1, errors  # bad pictures
    assert output == ""
    connected, summary = errors.splitlines()
    assert connected == f"Ray connected to {cluster.address}: 2 machine(s), 2 processor(s)"
    assert summary.startswith(f"{MANY} rows in {table}, 0 of them from before; without a score: ")
    assert table.read_text() == plain_csv(pictures)
    assert table.read_text().count("convert it to JPEG") == MANY // 5


@needs_ray
@pytest.mark.slow
def test_a_stopped_local_ray_leaves_no_process_listens_here_only_and_goes_on(pictures, tmp_path):
    table = tmp_path / "out.csv"
    running = start("predict", pictures, *SMALLEST, "--csv", table, "--ray")
    wait_for(lambda: rows_in(table) > BLOCK, running)
    started = psutil.Process(running.pid).children(recursive=True)
    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for process in [*started, psutil.Process(running.pid)]
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(started) > 3 and set(listening) == {"127.0.0.1"}
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate()
    assert running.returncode == 130
    connected, stopped = errors.splitlines()
    assert connected.startswith("Ray started here: 1 machine(s), ") and stopped == "Stopped."
    assert not psutil.wait_procs(started, timeout=30)[1]
    assert BLOCK < rows_in(table) < MANY
    again = CliRunner().invoke(main, ["predict", pictures, *SMALLEST, "--csv", str(table)])
    assert again.exit_code == 1 and table.read_text() == plain_csv(pictures)


@pytest.mark.parametrize("listens", [True, False], ids=["silent", "closed"])
def test_an_address_nobody_answers_is_one_error(listens):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if not listens:
            server.close()
        with pytest.raises(ClusterError, match=f"no Ray cluster answers at {address}"):
            check_address(address, seconds=0.2)
    with pytest.raises(ClusterError, match="write HOST:PORT"):
        check_address("auto")


@pytest.mark.parametrize("command", [["predict", "x.jpg"], ["sweep", "curve"]], ids=str)
def test_without_ray_the_command_says_which_extra_to_install(command, monkeypatch):
    monkeypatch.setattr(shared, "find_spec", lambda name: None)
    told = CliRunner().invoke(main, [*command, "--ray"])
    assert told.exit_code == 2 and 'pip install -e ".[ray]"' in told.stderr


def test_nothing_but_ray_itself_imports_ray():
    code = "import sys, ddlib.deploy.ray_cluster, ddlib.cli.predict, ddlib.cli.sweep; "
    code += "print('ray' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stdout == "False\n", told.stderr
