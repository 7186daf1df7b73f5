"""Child processes that may be killed."""

import multiprocessing
from multiprocessing.context import ForkServerContext

import pytest


@pytest.fixture(scope="session")
def children() -> ForkServerContext:
    """Children of a fork server that never used Lance or torch: both have threads, which a fork does not survive."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.worker"])
    return context
