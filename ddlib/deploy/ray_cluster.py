"""The same work on several processes or machines by Ray, which the extra ``ray`` brings.

Ray places the work, sends it again where a process or a machine was lost, and ends its processes.
Every machine needs this very ddlib, and sees the same files at the same paths. Without an address
Ray runs on this machine alone, listens on 127.0.0.1 only, and ends with the work.
"""

import json
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ddlib import __version__
from ddlib._utils import cpu_count
from ddlib.deploy.detector import Detector
from ddlib.deploy.predict import Prediction, predict_files
from ddlib.deploy.scorer import Scorer
from ddlib.models.inference import silenced

MISSING = (
    'this needs Ray, which the extra "ray" brings; in the folder of ddlib: '
    'python -m pip install -e ".[ray]"'
)
BLOCK = 64  # pictures that a process takes at once: seconds of work, a moment of Ray's
# Read by Ray when it is imported and by the processes that it starts. The second makes a local Ray
# listen on 127.0.0.1, on Linux as it does elsewhere; no argument of `ray.init` does.
LOCAL = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
LOCAL_MEMORY = 256 * 2**20  # bytes of Ray's store; paths and rows need less


class ClusterError(OSError):
    """Ray cannot be reached or started, or a machine of the cluster cannot do the work."""


def load_ray():
    """Import Ray; an ImportError says how to install it."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(MISSING) from error
    # else what Ray tries again stands between our rows on standard output
    ray._private.worker.listen_error_messages = lambda *_: None
    return ray


@contextmanager
def connect(
    address: str | None = None, workers: int | None = None, log: Callable = print
) -> Iterator:
    """Give the module `ray` for the block, connected to the cluster whose head is at `address`.

    This machine must be part of the cluster. Without an address a Ray is started here, on `workers`
    processors (by default all). `log` takes one line: how many machines and processors there are.
    An ImportError says how to install Ray, a ClusterError that nobody answers at the address or
    that Ray does not start.
    """
    if address is None:
        os.environ.update(LOCAL)
        place = {
            "address": "local",
            "num_cpus": workers or cpu_count(),
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
            "object_store_memory": LOCAL_MEMORY,
        }
    else:
        check_address(address)
        place = {"address": address}
    ray = load_ray()
    try:
        with silenced():
            ray.init(**place, logging_level="error", log_to_driver=False)
    except (Exception, SystemExit) as error:  # Ray raises a bare Exception or exits
        ray.shutdown()
        what = "Ray does not start here; on a busy machine a second try may help"
        if address:
            what = (
                f"Ray at {address} does not let this program in; if it was started with "
                "RAY_AUTH_MODE=token, or where ~/.ray/auth_token lies, which a --ray without an "
                "address makes, set RAY_AUTH_MODE=token here too, with the same token"
            )
        raise ClusterError(f"{what} ({error})") from error
    try:
        where = f"connected to {address}" if address else "started here"
        machines, cpus = sum(node["Alive"] for node in ray.nodes()), ray.cluster_resources()["CPU"]
        log(f"Ray {where}: {machines} machine(s), {cpus:.0f} processor(s)")
        yield ray
    finally:
        ray.shutdown()


def check_address(address: str, seconds: float = 5.0) -> None:
    """Raise a ClusterError unless a gRPC server answers at HOST:PORT; Ray itself tries for minutes.

    Such a server answers the greeting of HTTP/2 (RFC 9113, 3.4) with a frame of settings, type 4.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ClusterError(
            f"{address!r} is no address of a Ray cluster; write HOST:PORT as `ray start --head` "
            "prints it, such as 192.0.2.7:6379"
        )
    greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4" + bytes(5)
    answer, why = b"", "it is not Ray"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), seconds) as connection:
            connection.sendall(greeting)
            answer = connection.recv(9)
    except OSError as error:
        why = error.strerror or str(error)
    if answer[3:4] != b"\4" and not (answer and os.environ.get("RAY_USE_TLS") == "1"):
        raise ClusterError(
            f"no Ray cluster answers at {address} ({why}); `ray status --address {address}` on its "
            "head says whether it runs. Without an address --ray starts one here"
        )


def score_files(
    files: Iterable,
    detector: Detector,
    face: bool = False,
    address: str | None = None,
    workers: int | None = None,
    log: Callable = print,
) -> Iterator[Prediction]:
    """Yield a prediction for each file, in order, as `ddlib.deploy.predict.predict_files` does.

    Each of Ray's processes has the detector in memory and scores on one thread. `workers` is their
    number, by default one for each processor of the cluster. `address` and `log` are as in
    `connect`. A process that is lost is started again, and its pictures are scored again.
    """
    files, model = list(files), detector.litert_model()
    given = {
        "card": detector.card,
        "face": face,
        "folder": os.getcwd(),  # noqa: PTH109
        "seen": next((os.path.abspath(f) for f in files if os.path.exists(f)), "/"),  # noqa: PTH100, PTH110
        "version": __version__,
    }
    with connect(address, workers, log) as ray:
        import pyarrow

        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # advice
        most = workers or int(ray.cluster_resources()["CPU"])
        blocks = -(-len(files) // BLOCK)
        names = pyarrow.table({"file": [os.fsencode(file) for file in files]})  # any bytes
        rows = ray.data.from_arrow(names, override_num_blocks=blocks).map_batches(
            _Worker,
            fn_constructor_kwargs=given | {"model": ray.put(model)},
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most, initial_size=most),
            num_cpus=1,
        )
        with errors_named(ray):
            for block in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield from (Prediction(**json.loads(row)) for row in block["row"].to_pylist())


class _Worker:
    """What one process of Ray keeps in memory: the detector, and its scorer on one thread."""

    def __init__(self, card, model, face, folder, seen, version):
        if version != __version__:
            raise ClusterError(
                f"{socket.gethostname()} has ddlib {__version__}, where you are it is {version}: "
                "install the same on every machine"
            )
        if not os.path.exists(seen):  # noqa: PTH110
            raise ClusterError(
                f"{socket.gethostname()} has no {seen}: every machine of the cluster must see the "
                "pictures at the same path, on a disk that they share"
            )
        with suppress(OSError):  # names are relative to it, or whole
            os.chdir(folder)
        scorer = Scorer(load_ray().get(model), 1)
        self.detector, self.scorer, self.face = Detector(card, Path()), scorer, face

    def __call__(self, names):
        """Return a table of one column, the predictions as JSON, for a table of names."""
        import pyarrow

        files = map(os.fsdecode, names["file"].to_pylist())
        rows = predict_files(files, self.detector, self.scorer, self.face)
        return pyarrow.table({"row": [json.dumps(row.to_dict()) for row in rows]})


def run_jobs(
    function: Callable, jobs: Iterable, address: str | None = None, threads=2, log=print
) -> Iterator[tuple]:
    """Yield (job, ``function(job)``) as jobs end, each run by Ray in a new process.

    A job takes `threads` processors; how many TensorFlow uses is `Protocol.threads`. A job whose
    process or machine is lost runs again, three times at most. What `function` raises, a
    ClusterError says. `log` is as in `connect`.
    """
    folder = os.getcwd()  # noqa: PTH109

    def work(job):
        with suppress(OSError):  # names are relative to it, or whole
            os.chdir(folder)
        return function(job)

    with connect(address, max(threads, cpu_count()), log) as ray:
        task = ray.remote(num_cpus=threads, max_calls=1, max_retries=3)(work)
        waiting = {task.remote(job): job for job in jobs}
        while waiting:
            (ended,), _ = ray.wait(list(waiting), num_returns=1)
            with errors_named(ray):
                yield waiting.pop(ended), ray.get(ended)


@contextmanager
def errors_named(ray) -> Iterator[None]:
    """Raise a ClusterError in one sentence for what Ray raises."""
    try:
        yield
    except ray.exceptions.RayError as error:
        cause = error.__cause__ or getattr(error, "cause", None) or error
        raise ClusterError(str(cause)) from error
