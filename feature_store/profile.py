"""What a stage costs: its time, its processors, its memory."""

import resource
import sys
import threading
import time
import weakref
from contextlib import suppress
from typing import Any

import psutil

from feature_store.handles import ResourceUse

SECONDS_BETWEEN_LOOKS = 1.0
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in one of what getrusage counts


class Meter:
    """Measures from when it is made: wall clock, processor time, peak memory, of this process and its children.

    Children may be older than the meter, and outlive it: those that clean also chunk. Their memory is looked at every
    second. What runs on other machines is not seen.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._processor_seconds = _processor_seconds()
        self._children = _ChildrenWatch()
        # A stage that fails never reads its meter.
        weakref.finalize(self, self._children.ended.set)

    def read(self) -> dict[str, Any]:
        """Return ``seconds`` and ``use``, the fields of a handle that say what making it has cost."""
        self._children.ended.set()
        use = ResourceUse(
            processor_seconds=_processor_seconds() - self._processor_seconds,
            peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT,
            children_memory=self._children.peak,
        )
        return {"seconds": time.monotonic() - self._started, "use": use}


def held_memory(process: psutil.Process) -> int:
    """Return the bytes that a process holds: its own, and its share of those that it has in common with others.

    0 for a process that has ended. Only Linux tells the share; elsewhere it is the process's own memory.
    """
    with suppress(psutil.Error, OSError):
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.uss))
    return 0


class _ChildrenWatch:
    # The kernel's own figure of an ended child is of no use: it begins with the memory of whoever forked it.
    # So does a child that does not run its own program yet, which still has the command line of that process.
    def __init__(self) -> None:
        self.peak = 0
        self.ended = threading.Event()
        threading.Thread(target=self._look, name="meter", daemon=True).start()

    def _look(self) -> None:
        this = psutil.Process()
        while not self.ended.wait(SECONDS_BETWEEN_LOOKS):
            children = this.children(recursive=True)
            self.peak = max(self.peak, sum(held_memory(child) for child in children if _runs_its_own_program(child)))


def _runs_its_own_program(child: psutil.Process) -> bool:
    with suppress(psutil.Error, OSError):
        starter = child.parent()
        return starter is None or child.cmdline() != starter.cmdline()
    return False


def _processor_seconds() -> float:
    """Return the processor time so far of this process, of its children that have ended, and of those that live."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ended = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return ended + sum(map(_spent_by, psutil.Process().children(recursive=True)))


def _spent_by(child: psutil.Process) -> float:
    with suppress(psutil.Error, OSError):
        spent = child.cpu_times()
        return float(spent.user + spent.system + spent.children_user + spent.children_system)
    return 0.0
