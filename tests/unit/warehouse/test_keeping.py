from contextlib import contextmanager

import pytest

from warehouse.keeping import keep, kept_between_steps, let_go


class Server:
    """Counts who uses it."""

    users = 0

    @contextmanager
    def used(self):
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1


@pytest.fixture
def server():
    return Server()


def test_outside_of_a_run_nothing_is_kept(server):
    keep(server.used())
    assert server.users == 0


def test_a_server_is_kept_until_it_is_let_go(server):
    with kept_between_steps():
        keep(server.used())
        assert server.users == 1
        let_go()
        assert server.users == 0
        keep(server.used())  # who opens it later stops it again
        assert server.users == 0


def test_a_run_that_fails_lets_its_server_go(server):
    with pytest.raises(KeyboardInterrupt), kept_between_steps():  # noqa: PT012
        keep(server.used())
        raise KeyboardInterrupt
    assert server.users == 0


def test_after_a_run_nothing_is_kept_any_more(server):
    with kept_between_steps():
        pass
    keep(server.used())
    assert server.users == 0


def test_letting_go_outside_of_a_run_does_nothing():
    let_go()
