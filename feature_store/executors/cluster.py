"""Part functions as tasks of a Ray cluster, encoders as its actors. Nothing else imports Ray.

The variable RAY_ADDRESS names the cluster, as everywhere with Ray; without it one is started on this machine.
"""

import hashlib
import os
import signal
import socket
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, NamedTuple, NoReturn

import ray
from loguru import logger
from ray.exceptions import (
    AuthenticationError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from feature_store.config import ExecutorConfig
from feature_store.encoders import Encoder
from feature_store.errors import ConfigurationError, PipelineError, TerminalError, TransientError
from feature_store.executors.fleet import BATCHES_EACH, Fleet, LostError, RemoteEncoder
from feature_store.executors.interface import Encoded, EncoderPool, Executor, Item, LoadEncoder, Result, encode
from feature_store.parts import Folder, probe, read_file, remove_file, write_file

RETRIES = 3  # of a task whose worker or node was lost
AHEAD = 2  # tasks submitted for each processor: one at work, one ready
_SECONDS_UNTIL_TOLD = 60
_SECONDS_FOR_AN_ANSWER = 10
_SECONDS_FOR_A_NODE = 180
_PASSED = b"passed on"
_PACKAGES = ("feature_store", "steps")


class Node(NamedTuple):
    """A machine of the cluster."""

    id: str
    address: str
    cores: float
    gpus: float


class Place(NamedTuple):
    """What an encoder takes of the cluster, and the node where it should be; any where that is None."""

    cores: float
    gpus: float
    node: str | None


@contextmanager
def open_cluster(config: ExecutorConfig) -> Iterator[Executor]:
    """Open a cluster as an executor. It is connected to once there is work, and left with the block.

    Raises:
        TransientError: if the cluster does not answer; also later, if workers are lost again and again.
        ConfigurationError: if it runs another release of Ray or Python.
    """
    with ExitStack() as stack:
        yield Cluster(config, stack)


class Cluster:
    """Runs functions as tasks and encoders as actors of a Ray cluster."""

    def __init__(self, config: ExecutorConfig, stack: ExitStack) -> None:
        self._config = config
        self._stack = stack
        self._connected = False

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the result for each item, in their order; what a function raises is raised here, and not retried."""
        name = _name_of(function)
        tasks = _Tasks()
        try:
            for number, item in enumerate(items):
                if number == 0:
                    self._connect()
                    submit = _as_task(function, name)
                    limit = _limit(self._config, _nodes())
                tasks.wait_until_fewer_than(limit)
                tasks.add(submit(item))
                while tasks.has_result() or len(tasks) >= 2 * limit:
                    yield tasks.result(name)
            while len(tasks):
                yield tasks.result(name)
        finally:
            tasks.cancel()

    @contextmanager
    def encoders(self, encoder: Encoder, load: LoadEncoder) -> Iterator[EncoderPool]:  # noqa: ARG002
        """Open a pool of actors, each with a model of its own, made by ``load``; the first texts start them."""
        pool = _Actors(partial(self._start_fleet, load))
        try:
            yield pool
        finally:
            pool.close()

    def _start_fleet(self, load: LoadEncoder) -> Fleet:
        self._connect()
        places = plan_encoders(self._config, _nodes())
        logger.info("{} encoders on the Ray cluster, each with {}", len(places), _describe(places[0]))
        return Fleet(partial(_start_encoder, load, places), len(places))

    def _connect(self) -> None:
        if not self._connected:
            self._stack.enter_context(_connection())
            self._connected = True


class _Actors:
    """A pool of encoders that is not started before it is asked for something."""

    def __init__(self, start: Callable[[], Fleet]) -> None:
        self._start = start
        self._fleet: Fleet | None = None

    @property
    def width(self) -> int:
        return BATCHES_EACH if self._fleet is None else self._fleet.width

    def submit(self, texts: Sequence[str]) -> Future[Encoded]:
        if self._fleet is None:
            self._fleet = self._start()
        return self._fleet.submit(texts)

    def close(self) -> None:
        if self._fleet is not None:
            self._fleet.close()


class _Tasks:
    """Tasks in the order in which they were submitted, and those of them that may still be under way."""

    def __init__(self) -> None:
        self._in_order: deque[ray.ObjectRef[Any]] = deque()
        self._under_way: list[ray.ObjectRef[Any]] = []
        self._given = 0

    def __len__(self) -> int:
        return len(self._in_order)

    def add(self, task: "ray.ObjectRef[Any]") -> None:
        self._in_order.append(task)
        self._under_way.append(task)

    def wait_until_fewer_than(self, limit: int) -> None:
        while len(self._under_way) >= limit:
            _, self._under_way = _wait(self._under_way)

    def has_result(self) -> bool:
        return bool(self._in_order and ray.wait([self._in_order[0]], timeout=0, fetch_local=False)[0])

    def result(self, name: str) -> Any:
        """Return the result of the first task, which is forgotten then."""
        _wait([self._in_order[0]])
        task = self._in_order.popleft()
        self._given += 1
        try:
            return ray.get(task)
        except RayTaskError as error:
            _raise_cause(error)
        except RayError as error:
            raise TransientError(
                f"Item {self._given} of {name}: the Ray cluster lost its worker {RETRIES + 1} times, or its result: "
                f"{_first_line(error)}",
                "Run again. If it is the same item again, look at the worker's log for the cause, such as memory.",
            ) from error

    def cancel(self) -> None:
        """Give up what is under way."""
        for task in self._in_order if ray.is_initialized() else ():
            ray.cancel(task)


def plan_encoders(config: ExecutorConfig, nodes: Sequence[Node]) -> list[Place]:
    """Return a place for each encoder: one for each GPU, or one for each node where there are no GPUs.

    Without GPUs an encoder is given all cores of its node, or its share of them where a node has several.

    Raises:
        ConfigurationError: if no node has room for one.
    """
    gpus = config.gpus_per_encoder
    if gpus is None:
        gpus = 1.0 if any(node.gpus >= 1 for node in nodes) else 0.0
    cores = config.cores_per_encoder
    hosts = [node for node in nodes if node.gpus >= gpus and node.cores >= (cores or min(node.cores, 1)) and node.cores]
    if not hosts:
        largest = ", ".join(f"{node.address}: {node.cores:g} cores, {node.gpus:g} GPUs" for node in nodes)
        raise ConfigurationError(
            f"No node of the Ray cluster has room for an encoder of {cores or 1:g} cores and {gpus:g} GPUs: {largest}.",
            "Lower executor.cores_per_encoder or executor.gpus_per_encoder, or add a node.",
        )
    if gpus:
        count = config.encoders or sum(int(node.gpus / gpus) for node in hosts)
        return [Place(cores or 1.0, gpus, None)] * count
    count = config.encoders or len(hosts)
    chosen = list(islice(cycle(sorted(hosts, key=lambda node: -node.cores)), count))
    return [Place(cores or _share(node.cores, chosen.count(node)), 0.0, node.id) for node in chosen]


def examine_cluster(config: ExecutorConfig, folder: Folder) -> str:
    """Let every node read a file in the folder for part files and say which code it has; return what was seen.

    Raises:
        ConfigurationError: if a node lacks the folder or this release, or none has room for an encoder.
    """
    with _connection():
        nodes = _nodes()
        place = plan_encoders(config, nodes)[0]
        passed = folder / f"probe-{ray.get_runtime_context().get_job_id()}"
        write_file(passed, _PASSED)
        try:
            for node, report in [(node, _ask(node, passed)) for node in nodes]:
                _require_fit(node, report, folder)
        finally:
            remove_file(passed)
    cores, gpus = (sum(figures) for figures in zip(*((node.cores, node.gpus) for node in nodes), strict=True))
    return f"{len(nodes)} nodes, {cores:g} cores, {gpus:g} GPUs; an encoder takes {_describe(place)}"


def digest_of_code() -> str:
    """Return a digest of the code that part functions are made of, as it is installed here."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[2]
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def reaches(passed: Folder) -> bool:
    """Return whether a file that another machine wrote can be read here, and others be written beside it.

    Raises:
        TerminalError: if it can be read, and nothing written.
    """
    try:
        same = read_file(passed) == _PASSED
    except FileNotFoundError:
        return False
    probe(passed.parent)
    return same


def _ask(node: Node, passed: Folder) -> "ray.ObjectRef[Any]":
    def look() -> tuple[str, bool]:  # sent as it is: the node may not have this module
        from feature_store.executors.cluster import digest_of_code, reaches

        return digest_of_code(), reaches(passed)

    here = NodeAffinitySchedulingStrategy(node.id, soft=False)
    options = {"num_cpus": 0, "max_retries": RETRIES, "scheduling_strategy": here, "name": "examine a node"}
    task: ray.ObjectRef[Any] = ray.remote(look).options(**options).remote()
    return task


def _require_fit(node: Node, task: "ray.ObjectRef[Any]", folder: Folder) -> None:
    try:
        code, reads = ray.get(task, timeout=_SECONDS_FOR_A_NODE)
    except RayTaskError as error:
        if not isinstance(error.cause, ImportError):
            _raise_cause(error)
        code, reads = f"lacks it: {error.cause}", True
    except RayError as error:
        raise TransientError(
            f"Node {node.address} does not answer: {_first_line(error)}", "See `ray status`."
        ) from error
    if code != digest_of_code():
        missing = code if code.startswith("lacks") else "has another one"
        raise ConfigurationError(
            f"Node {node.address} of the Ray cluster must have the same release of the pipeline, and {missing}.",
            "Install it there, or use one image for all; see docs/cluster.md.",
        )
    if not reads:
        raise ConfigurationError(
            f"Node {node.address} of the Ray cluster does not see part files in {folder}.",
            "Set PARTS_URI to storage that all nodes reach, such as s3://bucket/prefix or a folder that all mount.",
        )


def _limit(config: ExecutorConfig, nodes: Sequence[Node]) -> int:
    """Return how many tasks may be under way: ``workers``, or enough that none of the cluster's cores waits."""
    return config.workers or max(1, int(AHEAD * sum(node.cores for node in nodes)))


def _share(cores: float, encoders: int) -> float:
    return cores / encoders if encoders > cores else float(cores // encoders)


def _nodes() -> list[Node]:
    found = [
        Node(
            node["NodeID"], node["NodeManagerAddress"], node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]
    return sorted(found)


@contextmanager
def _connection() -> Iterator[None]:
    """Connect to the cluster that RAY_ADDRESS names, or start one here; what was connected before stays so."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    options |= {"address": address} if address else {"address": "local", "include_dashboard": False}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what is started here sends nothing anywhere
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        _require_answer(address)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "lance is not fork-safe")  # Ray executes another program at once
            ray.init(**options)
    except (OSError, RuntimeError, ValueError, AuthenticationError) as error:
        _raise_unreachable(address, error)
    finally:
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, on_termination)  # Ray puts its own in its place
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str | None) -> None:
    """Look whether somebody listens at ``host:port`` or ``ray://host:port``: Ray itself would try for minutes."""
    host, separator, port = (address or "").removeprefix("ray://").rpartition(":")
    if separator and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_FOR_AN_ANSWER).close()


def _raise_unreachable(address: str | None, error: Exception) -> NoReturn:
    where = f"The Ray cluster at RAY_ADDRESS = {address}" if address else "A Ray cluster on this machine"
    if "ersion mismatch" in str(error):
        raise ConfigurationError(
            f"{where} runs another release of Ray or Python: {_first_line(error)}",
            "Use one image, or the same releases, for the cluster and for this process.",
        ) from error
    raise TransientError(
        f"{where} cannot be reached: {_first_line(error)}",
        "Start it (`ray start --head`), correct RAY_ADDRESS, or unset it to work on this machine alone.",
    ) from error


def _as_task(function: Callable[[Item], Result], name: str) -> "Callable[[Item], ray.ObjectRef[Any]]":
    def run(item: Item) -> Result:  # exported once, loaded once by each worker
        return function(item)

    options = {"num_cpus": 1, "max_retries": RETRIES, "retry_exceptions": False, "scheduling_strategy": "SPREAD"}
    submit: Callable[[Item], ray.ObjectRef[Any]] = ray.remote(run).options(name=name, **options).remote
    return submit


def _wait(tasks: "list[ray.ObjectRef[Any]]") -> "tuple[list[ray.ObjectRef[Any]], list[ray.ObjectRef[Any]]]":
    """Wait for one of the tasks; return what is ready and what is not."""
    while True:
        ready, others = ray.wait(tasks, timeout=_SECONDS_UNTIL_TOLD, fetch_local=False)
        if ready:
            return ready, others
        free = ray.available_resources().get("CPU", 0)  # type: ignore[no-untyped-call]
        logger.info("Waiting for {} tasks; {:g} cores of the Ray cluster are free", len(tasks), free)


class _EncoderActor:
    """The process of one encoder."""

    def __init__(self, load: LoadEncoder) -> None:
        self._load = load

    def load(self) -> None:
        self._encoder = self._load()

    def encode(self, texts: Sequence[str]) -> Encoded:
        return encode(self._encoder, texts)


class _ActorEncoder:
    """An encoder in an actor. The pool starts another one in its place, so Ray restarts and retries nothing."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def load(self) -> None:
        _of_actor(self._actor.load.remote())

    def encode(self, texts: Sequence[str]) -> Encoded:
        encoded: Encoded = _of_actor(self._actor.encode.remote(texts))
        return encoded

    def stop(self) -> None:
        if ray.is_initialized():
            ray.kill(self._actor)


def _start_encoder(load: LoadEncoder, places: Sequence[Place], number: int) -> RemoteEncoder:
    place = places[number]
    where = "SPREAD" if place.node is None else NodeAffinitySchedulingStrategy(place.node, soft=True)
    options = {"num_cpus": place.cores, "num_gpus": place.gpus, "scheduling_strategy": where, "max_restarts": 0}
    return _ActorEncoder(ray.remote(_EncoderActor).options(**options).remote(load))


def _of_actor(task: "ray.ObjectRef[Any]") -> Any:
    try:
        return ray.get(task)
    except RayTaskError as error:
        _raise_cause(error)
    except RuntimeEnvSetupError as error:
        raise TerminalError(
            f"Ray cannot set up an encoder: {_first_line(error)}", "Correct the runtime environment."
        ) from error
    except RayError as error:  # of its process, its node or the way there
        raise LostError(_first_line(error)) from error


def _raise_cause(error: RayTaskError) -> NoReturn:
    """Raise what was raised in the worker, as what it was there."""
    cause = error.cause
    if isinstance(cause, PipelineError):
        raise cause from None
    if isinstance(cause, RayError):
        raise TerminalError(f"A worker of the Ray cluster failed: {error}", "Report this.") from None
    raise cause from error  # with the traceback of the worker


def _name_of(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _describe(place: Place) -> str:
    return f"{place.cores:g} cores and {place.gpus:g} GPUs" if place.gpus else f"{place.cores:g} cores"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
