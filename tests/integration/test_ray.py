"""A Ray cluster of two nodes, both on this machine, does what this process does, whoever dies meanwhile.

Starting processes takes most of the time: all tests share one cluster, and the last two take a node away from it.
"""

import re
import warnings
from contextlib import contextmanager
from functools import partial

import pytest

from feature_store.config import ExecutorConfig
from feature_store.errors import ConfigurationError, DataQualityError, TransientError
from feature_store.executors.here import HERE
from feature_store.parts import as_folder, list_parts, read_part
from tests import cluster_tasks
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")

from ray.cluster_utils import Cluster

from feature_store.executors import cluster as on_cluster

# Ray forks to execute another program at once; nothing of this process runs in the child.
pytestmark = pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning")
CONFIG = ExecutorConfig(kind="ray")


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes with one core each."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.filterwarnings("ignore", "lance is not fork-safe")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def executor(nodes):
    with on_cluster.open_cluster(CONFIG) as opened:
        assert list(opened.map(str, [1])) == ["1"]  # it is connected to now, for all tests
        yield opened


class Deadly:
    """An executor whose worker is killed at the first item for each function, and whose encoder at its first texts."""

    def __init__(self, executor, folder):
        self.executor = executor
        self.folder = folder

    def map(self, function, items):
        marker = self.folder / f"worker-{function.func.__name__}"
        return self.executor.map(partial(cluster_tasks.after_a_death, function=function, marker=marker), items)

    @contextmanager
    def encoders(self, encoder, load):
        with self.executor.encoders(encoder, partial(cluster_tasks.mortal_encoder, self.folder / "encoder")) as pool:
            yield pool


def documents():
    return [note(f"n{number}", f"# Note {number}\n\n" + f"Words about {number}. " * 40) for number in range(60)]


def run(folder, executor, monkeypatch):
    """Load documents, then change some; return all that came of both runs."""
    monkeypatch.setattr("steps.extract.compare.ROWS_PER_PART", 12)
    monkeypatch.setattr("steps.chunk.apply.DOCUMENTS_PER_ITEM", 10)
    monkeypatch.setattr("steps.embed.apply.TEXTS_PER_BATCH", 16)
    flow = Flow(folder, notes_config())
    flow.load_encoder = lambda _: HashEncoder()
    flow.executor = executor
    changed = [*documents()[7:], note("n1", "Another text."), note("n2", "<b>"), note("new", "# New\n\nOne.")]
    runs = [flow.run(source) for source in (documents(), changed)]
    return flow, [_everything(flow, made) for made in runs]


def _everything(flow, made):
    index = made.index
    folders = (made.raw.folder, made.raw.folder.with_name("clean"), index.chunks.folder)
    names = ("raw", "removed", "documents", "rejects", "chunks", "parents", "payloads", "stale", "embedded")
    parts = {
        (place, name): [(part.name, _timeless(read_part(part))) for part in list_parts(folder, name)]
        for place, folder in enumerate(folders)
        for name in names
    }
    ignored = {"folder", "seconds", "use", "store_id", "version_run_id", "samples", "collection"}
    handles = [
        handle.model_dump(exclude=ignored) for handle in (made.raw, made.cleaned, index.chunks, index.embeddings)
    ]
    return parts, handles, flow.points(index.report.collection), flow.texts(), sorted(flow.rejects())


def _timeless(table):
    times = [name for name in table.column_names if name.endswith("_at")]
    return table.drop_columns(times).to_pylist()


@pytest.fixture(scope="module")
def made_here(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        _, everything = run(tmp_path_factory.mktemp("here"), HERE, monkeypatch)
    parts = everything[0][0]
    assert [len(parts[0, "raw"]), len(parts[2, "chunks"]) > 3, len(parts[2, "embedded"]) > 3] == [5, True, True]
    return everything


def test_a_run_on_a_cluster_gives_what_a_run_in_this_process_gives(executor, made_here, tmp_path, monkeypatch):
    _, everything = run(tmp_path, executor, monkeypatch)
    assert everything == made_here


def test_a_run_whose_workers_and_encoders_are_killed_gives_the_same(executor, made_here, tmp_path, monkeypatch):
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    _, everything = run(tmp_path / "data", Deadly(executor, deaths), monkeypatch)
    assert everything == made_here
    assert {path.name for path in deaths.iterdir()} == {"worker-clean_part", "worker-chunk_part", "encoder"}


def test_items_are_taken_as_they_are_needed_and_no_more_run_than_configured(nodes, executor, tmp_path):
    taken = []

    def items():
        for number in range(24):
            taken.append(number)
            yield number

    with on_cluster.open_cluster(ExecutorConfig(kind="ray", workers=2)) as two:
        results = two.map(partial(cluster_tasks.noted, folder=tmp_path), items())
        for given, result in enumerate(results):
            assert result == given
            assert len(taken) - given <= 2 * 2 + 1
    spans = [[int(word) for word in path.read_text().split()[1:]] for path in tmp_path.iterdir()]
    assert len(spans) == 24
    assert max(sum(began <= time < ended for began, ended in spans) for time, _ in spans) <= 2


def test_a_map_that_is_given_up_leaves_no_tasks_behind(executor, tmp_path):
    results = executor.map(partial(cluster_tasks.noted, folder=tmp_path), range(1000))
    assert next(results) == 0
    results.close()
    assert list(executor.map(str, range(3))) == ["0", "1", "2"]
    assert len(list(tmp_path.iterdir())) < 20


@pytest.mark.parametrize(
    ("item", "kind", "message"),
    [
        ("quality", DataQualityError, "Too few documents. Look at them."),
        ("arithmetic", ZeroDivisionError, "of a worker"),
    ],
)
def test_what_a_function_raises_arrives_as_it_is_and_is_not_tried_again(executor, tmp_path, item, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$") as caught:
        list(executor.map(partial(cluster_tasks.refusing, folder=tmp_path), [item]))
    assert type(caught.value) is kind
    assert getattr(caught.value, "remedy", "Look at them.") == "Look at them."
    assert len(list(tmp_path.iterdir())) == 1


def test_an_item_that_kills_every_worker_is_named(executor, tmp_path, monkeypatch):
    monkeypatch.setattr(on_cluster, "RETRIES", 1)
    with pytest.raises(TransientError, match=r"^Item 2 of refusing: .* lost its worker 2 times") as caught:
        list(executor.map(partial(cluster_tasks.refusing, folder=tmp_path), ["fine", "death"]))
    assert "log" in caught.value.remedy
    assert len(list(tmp_path.iterdir())) == 3


def test_a_model_that_is_not_on_the_nodes_is_an_error_of_its_own(executor):
    with (
        executor.encoders(HashEncoder(), cluster_tasks.missing_model) as pool,
        pytest.raises(FileNotFoundError, match="no such model"),
    ):
        pool.submit(["text"]).result(60)


def test_every_node_is_asked_for_its_code_and_the_storage_of_parts(nodes, executor, tmp_path, monkeypatch):
    seen = on_cluster.examine_cluster(CONFIG, tmp_path)
    assert re.fullmatch(r"2 nodes, 2 cores, 0 GPUs; an encoder takes 1 cores", seen)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="does not see part files in memory://bucket") as caught:
        on_cluster.examine_cluster(CONFIG, as_folder("memory://bucket"))
    assert "PARTS_URI" in caught.value.remedy
    monkeypatch.setattr(on_cluster, "digest_of_code", lambda: "another release")
    with pytest.raises(ConfigurationError, match="must have the same release of the pipeline"):
        on_cluster.examine_cluster(CONFIG, tmp_path)


def test_nothing_is_started_where_there_is_nothing_to_do(monkeypatch):
    monkeypatch.setattr(on_cluster, "_connection", lambda: pytest.fail("connected"))
    with on_cluster.open_cluster(CONFIG) as idle:
        assert list(idle.map(str, [])) == []
        with idle.encoders(HashEncoder(), HashEncoder) as pool:
            assert pool.width > 0


def test_a_cluster_that_does_not_answer_is_an_error_at_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_cluster.ray, "is_initialized", lambda: False)
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        with (
            on_cluster.open_cluster(CONFIG) as unreachable,
            pytest.raises(TransientError, match=r"at RAY_ADDRESS = 127\.0\.0\.1:1 cannot be reached: .*refused"),
        ):
            list(unreachable.map(str, [1]))


def test_a_node_that_is_lost_takes_no_result_with_it(nodes, executor):
    squares = executor.map(partial(cluster_tasks.slow_square, seconds=0.1), range(30))
    results = [next(squares) for _ in range(4)]
    (lost,) = nodes.worker_nodes
    nodes.remove_node(lost)
    assert [*results, *squares] == [number * number for number in range(30)]


def test_the_texts_of_encoders_on_a_lost_node_are_embedded_by_others(nodes, executor, tmp_path):
    lost = nodes.add_node(num_cpus=1)
    with executor.encoders(HashEncoder(), partial(cluster_tasks.mortal_encoder, tmp_path / "alive")) as pool:
        (tmp_path / "alive").touch()
        pool.submit(["first"]).result(60)
        assert pool.width == 4
        futures = [pool.submit([f"text {number}"]) for number in range(200)]
        futures[20].result(60)
        nodes.remove_node(lost)
        matrices = [future.result(60).matrix for future in futures]
    expected = HashEncoder().embed_documents([f"text {number}" for number in range(200)])
    assert [matrix[0].tolist() for matrix in matrices] == expected.tolist()
