"""Executors: the same results in the same order wherever functions run, and no more items ahead than needed."""

import os
import signal
import threading
import time
from functools import partial
from itertools import count, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.config import ExecutorConfig
from feature_store.errors import ConfigurationError, TerminalError, TransientError
from feature_store.executors import processes
from feature_store.executors.here import HERE
from feature_store.executors.opening import end_processes, kept_between_steps, open_executor
from feature_store.executors.processes import Processes
from tests.stand_in import HashEncoder

THIS_PROCESS = os.getpid()


def described(item):
    return len(item), sum(item), os.getpid()


def slept(seconds):
    time.sleep(seconds)
    return seconds


def refused(item, bad):
    if item == bad:
        raise TerminalError(f"Item {item} is no good.", "Take another.")
    return item


def killed(item, spared):
    if os.getpid() != spared:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def interrupted(seconds, here):
    if seconds and os.getpid() == here:
        raise KeyboardInterrupt
    return slept(seconds)


def environment(seconds):
    time.sleep(seconds)
    names = ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM")
    return os.getpid(), (*[os.environ.get(name) for name in names], signal.getsignal(signal.SIGINT))


@pytest.fixture(scope="module")
def two():
    """This process, and another one that shares the work from the second item on."""
    opened = Processes(2, seconds_here=0.0)
    yield opened
    opened.close()


@settings(max_examples=20, deadline=None)
@given(items=st.lists(st.binary(max_size=2000), max_size=12))
def test_results_are_those_of_this_process_in_the_order_of_the_items(two, items):
    expected = [result[:2] for result in HERE.map(described, items)]
    assert [result[:2] for result in two.map(described, items)] == expected


def test_order_is_kept_where_later_items_are_done_first(two):
    durations = [0.0, 0.2, 0.0, 0.1, 0.0, 0.05, 0.0]
    assert list(two.map(slept, durations)) == durations


def test_this_process_and_others_with_a_thread_each_share_the_work():
    opened = Processes(3, seconds_here=0.0)
    ran = list(opened.map(environment, [0.02] * 200))
    opened.close()
    processes = {process for process, _ in ran}
    assert ran[0][0] == THIS_PROCESS
    assert len(processes) == 3
    others = {told for process, told in ran if process != THIS_PROCESS}
    assert others == {("1", "false", signal.SIG_IGN)}
    assert sum(process == THIS_PROCESS for process, _ in ran[-20:]) < 15


def test_little_work_starts_no_process(monkeypatch):
    monkeypatch.setattr(Processes, "_map_shared", lambda *_: pytest.fail("a process was started"))
    executor = Processes(2)
    assert [process for *_, process in executor.map(described, [b"a"] * 50)] == [THIS_PROCESS] * 50


def test_the_last_item_runs_here_however_long_the_others_took(monkeypatch):
    monkeypatch.setattr(Processes, "_map_shared", lambda *_: pytest.fail("a process was started"))
    assert list(Processes(2, seconds_here=0.0).map(len, [b"a", b"bb"])) == [1, 2]


def test_the_first_item_does_not_count_for_it_imports_the_stage(monkeypatch):
    monkeypatch.setattr(Processes, "_map_shared", lambda *_: pytest.fail("a process was started"))
    assert list(Processes(2, seconds_here=0.1).map(slept, [0.2, 0.0, 0.0])) == [0.2, 0.0, 0.0]


def test_processes_that_are_there_already_share_the_work_from_the_first_item_on(two):
    list(two.map(len, [b"a", b"bb", b"ccc"]))
    ran = [process for process, _ in two.map(environment, [0.05] * 4)]
    assert ran[0] != THIS_PROCESS
    assert THIS_PROCESS in ran


def test_time_that_the_taker_needs_does_not_count(monkeypatch):
    monkeypatch.setattr(Processes, "_map_shared", lambda *_: pytest.fail("a process was started"))
    for _ in Processes(2, seconds_here=0.05).map(len, [b"a"] * 5):
        time.sleep(0.05)


@pytest.mark.parametrize("seconds_to_take", [0.0, 0.01])
def test_items_are_taken_only_so_far_ahead_however_slowly_results_are_taken(two, seconds_to_take):
    taken = []

    def items():
        for number in count():
            taken.append(number)
            yield number

    results = two.map(slept_not, items())
    for number, result in enumerate(islice(results, 150)):
        time.sleep(seconds_to_take)
        assert result == number
        assert len(taken) <= number + 1 + 2 + processes._RESULTS_AHEAD
    results.close()
    assert len(taken) <= 150 + 2 + processes._RESULTS_AHEAD


def slept_not(item):
    return item


def test_here_takes_one_item_at_a_time():
    items = iter(range(10))
    assert list(islice(HERE.map(slept_not, items), 3)) == [0, 1, 2]
    assert next(items) == 3


@pytest.mark.parametrize("bad", [0, 1, 7])
def test_an_error_is_raised_here_with_its_own_type_and_remedy(two, bad):
    results = two.map(partial(refused, bad=bad), range(9))
    assert list(islice(results, bad)) == list(range(bad))
    with pytest.raises(TerminalError, match=f"Item {bad} is no good") as caught:
        next(results)
    assert caught.value.remedy == "Take another."
    assert list(two.map(slept_not, range(5))) == list(range(5))


def test_a_process_that_was_killed_is_told_with_what_to_do():
    with (
        open_executor(ExecutorConfig(workers=2)) as executor,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(executor, "_seconds_here", 0.0)
        with pytest.raises(TransientError, match=r"executor\.workers") as caught:
            list(executor.map(partial(killed, spared=THIS_PROCESS), range(9)))
        assert "memory" in caught.value.problem
        assert list(executor.map(slept_not, range(5))) == list(range(5))


def test_what_is_at_work_elsewhere_ends_with_the_block_as_by_ctrl_c():
    started = time.monotonic()
    with open_executor(ExecutorConfig(workers=2)) as executor:
        executor._seconds_here = 0.0
        with pytest.raises(KeyboardInterrupt):
            list(executor.map(partial(interrupted, here=THIS_PROCESS), [0.0, *[60.0] * 8]))
    assert time.monotonic() - started < 30


def test_processes_are_kept_between_steps_until_somebody_ends_them():
    config = ExecutorConfig(workers=2)
    with kept_between_steps():
        with open_executor(config) as first:
            first._seconds_here = 0.0
            list(first.map(len, [b"a"] * 4))
            pool = first._pool
        with open_executor(ExecutorConfig(workers=2)) as second:
            assert second is first
            assert second._pool is pool is not None
        with open_executor(ExecutorConfig(workers=3)) as third:
            assert third is not first
        end_processes()
        assert first._pool is None
        with open_executor(config) as again:
            assert list(again.map(len, [b"a"] * 4)) == [1] * 4
            again_pool = again._pool
        assert again is first
        assert again_pool is not None
    assert first._pool is None
    with open_executor(config) as outside:
        assert outside is not first


def test_one_worker_is_this_process():
    with open_executor(ExecutorConfig(workers=1)) as executor:
        assert executor is HERE


def test_the_default_is_a_process_for_each_core(monkeypatch):
    monkeypatch.setattr("loky.cpu_count", lambda: 1)
    with open_executor(ExecutorConfig()) as executor:
        executor._seconds_here = 0.0
        assert {process for *_, process in executor.map(described, [b"a"] * 5)} == {THIS_PROCESS}


def test_without_ray_a_cluster_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    for name in ("cluster", "fleet"):
        monkeypatch.delitem(__import__("sys").modules, f"feature_store.executors.{name}", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install '\.\[ray\]'"), open_executor(ExecutorConfig(kind="ray")):
        pass


def test_an_encoder_works_in_a_thread_of_its_own():
    class Noting(HashEncoder):
        def embed_documents(self, texts):
            threads.append(threading.current_thread().name)
            return super().embed_documents(texts)

    threads: list[str] = []
    encoder = Noting(dimension=8)
    with HERE.encoders(encoder, lambda: encoder) as pool:
        encoded = pool.submit(["a", "b"]).result()
    assert (encoded.matrix.shape, encoded.precision) == ((2, 8), "float32")
    assert threads
    assert threading.current_thread().name not in threads


class Elsewhere(HashEncoder):
    """Tells by its precision in which process it works."""

    def embed_documents(self, texts):
        if texts[0] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        self.precision = f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}"
        return super().embed_documents(texts)


def test_several_encoders_work_in_processes_that_share_the_cores(monkeypatch):
    monkeypatch.setattr("loky.cpu_count", lambda: 6)
    here = HashEncoder(dimension=8)
    with (
        open_executor(ExecutorConfig(workers=1, encoders=2)) as executor,
        executor.encoders(here, partial(Elsewhere, dimension=8)) as pool,
    ):
        assert pool.width == 4
        done = [future.result() for future in [pool.submit([f"text {number}"]) for number in range(6)]]
        assert {encoded.precision.split()[1] for encoded in done} == {"3"}
        assert str(THIS_PROCESS) not in {encoded.precision.split()[0] for encoded in done}
    expected = here.embed_documents([f"text {number}" for number in range(6)])
    assert (np.concatenate([encoded.matrix for encoded in done]) == expected).all()


def test_an_encoder_that_was_killed_is_told_with_what_to_do():
    with (
        pytest.raises(TransientError, match=r"executor\.encoders"),
        open_executor(ExecutorConfig(encoders=2)) as executor,
        executor.encoders(HashEncoder(), Elsewhere) as pool,
    ):
        pool.submit(["die"]).result()


def test_what_the_model_saw_is_told_batch_by_batch():
    class Counting(HashEncoder):
        tokens_embedded = operations_embedded = 0

        def embed_documents(self, texts):
            self.tokens_embedded += sum(map(len, texts))
            self.operations_embedded += 10 * sum(map(len, texts))
            return super().embed_documents(texts)

    encoder = Counting(dimension=8)
    with HERE.encoders(encoder, lambda: encoder) as pool:
        done = [pool.submit(texts).result() for texts in (["a", "bcd"], ["ef"])]
    assert [(encoded.tokens, encoded.operations) for encoded in done] == [(4, 40), (2, 20)]


def test_a_batch_that_waits_is_dropped_when_the_block_ends():
    started, go_on = threading.Event(), threading.Event()

    class Slow(HashEncoder):
        def embed_documents(self, texts):
            started.set()
            go_on.wait(20)
            return super().embed_documents(texts)

    encoder = Slow(dimension=8)
    with HERE.encoders(encoder, lambda: encoder) as pool:
        first, second = pool.submit(["a"]), pool.submit(["b"])
        started.wait(20)
        threading.Timer(0.2, go_on.set).start()
    assert first.done()
    assert not first.cancelled()
    assert second.cancelled()
