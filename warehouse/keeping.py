"""Keeps the embedded warehouse running from one step of a run to the next, which would have to start it again."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

_kept: list[ExitStack] = []


@contextmanager
def kept_between_steps() -> Iterator[None]:
    """Let a server that is started inside of the block run until ``let_go``, at the latest until the end of the block.

    If the process is killed before, the server sees that its last user is gone, and ends.
    """
    with ExitStack() as servers:
        _kept.append(servers)
        try:
            yield
        finally:
            _kept.clear()


def keep(use: AbstractContextManager[Any]) -> None:
    """Begin one more use of a server, which lasts beyond its user's; outside of a run do nothing.

    Raises:
        PipelineError: what the beginning of that use raises.
    """
    if _kept:
        _kept[-1].enter_context(use)


def let_go() -> None:
    """End what is kept: nobody in this run needs the server any more."""
    while _kept:
        _kept.pop().close()
