"""A failure of the driver is worth another try, or it is not."""

import pytest
from pymongo.errors import (
    AutoReconnect,
    CursorNotFound,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from feature_store.errors import TerminalError, TransientError
from warehouse.failures import explained


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AutoReconnect("away"), TransientError),
        (ServerSelectionTimeoutError("nobody"), TransientError),
        (ExecutionTimeout("slow", 50), TransientError),
        (CursorNotFound("gone", 43), TransientError),
        (OperationFailure("election", 10107), TransientError),
        (OperationFailure("some", 1, {"errorLabels": ["RetryableReadError"]}), TransientError),
        (OperationFailure("a view", 166), TerminalError),
        (OperationFailure("no rights", 13), TerminalError),
        (InvalidOperation("misuse"), TerminalError),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'code', '')}" if isinstance(value, Exception) else "",
)
def test_only_what_may_pass_is_transient(error, kind):
    assert type(explained("notes", error)) is kind
