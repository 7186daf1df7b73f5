"""Which capture mode a category gets, and why; no document is read for it."""

from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from feature_store.config import CaptureMode, CategoryConfig
from feature_store.errors import ConfigurationError
from warehouse.failures import reading, refusal_of_log
from warehouse.outbox import require_markable, require_outbox
from warehouse.server import describe_server, is_indexed

Document = dict[str, Any]


def choose_mode(
    database: Database[Document], category: CategoryConfig, override: CaptureMode | None = None
) -> tuple[CaptureMode, str]:
    """Return the mode by which changes of a category are found, never `auto`, and why this one.

    ``override`` takes the place of the configured mode.

    Raises:
        ConfigurationError: if the mode needs what the category or the server does not have.
        TransientError: if the warehouse stops answering.
        TerminalError: if it refuses to tell.
    """
    mode = override or category.capture.mode
    asked = "asked for in this run" if override else "configured"
    with reading(category.collection):
        if mode == "auto":
            return _best_mode(database, category)
        if mode == "timestamp":
            return mode, _checked_timestamp(database, category, asked)
        if mode == "log":
            _require_log(database, category)
        if mode == "outbox":
            require_outbox(database, category.name, category.capture.outbox)
            require_markable(database, category.name, category.capture.outbox)
        return mode, asked


def _best_mode(database: Database[Document], category: CategoryConfig) -> tuple[CaptureMode, str]:
    obstacle = _obstacle_to_log(database, category)
    if obstacle is None:
        return "log", "chosen as the best that the server can do: it has a log of changes"
    obstacles = [obstacle]
    field = category.capture.field
    if field is None:
        obstacles.append("no date to go by is configured (`capture.field`)")
    elif not is_indexed(database, category.collection, field):
        obstacles.append(f"no index begins with {field}")
    elif not category.capture.compare_ids and category.deleted_field is None:
        obstacles.append("without `capture.compare_ids` and `deleted_field` no deletion would show")
    else:
        return "timestamp", f"chosen because {obstacle}, and {field} is indexed"
    return "hash", f"chosen because {', '.join(obstacles)}"


def _require_log(database: Database[Document], category: CategoryConfig) -> None:
    try:
        database[category.collection].watch(max_await_time_ms=1).close()
    except OperationFailure as error:
        if (refusal := refusal_of_log(category.collection, error)) is not None:
            raise refusal from None
        raise


def _obstacle_to_log(database: Database[Document], category: CategoryConfig) -> str | None:
    if not describe_server(database).has_log:
        return "the server is no replica set and so has no log of changes"
    try:
        database[category.collection].watch(max_await_time_ms=1).close()
    except OperationFailure as error:
        return f"the server does not open a change stream for this user and collection (code {error.code})"
    return None


def _checked_timestamp(database: Database[Document], category: CategoryConfig, asked: str) -> str:
    field = category.capture.field
    if field is None:
        raise ConfigurationError(
            f"Category {category.name}: capture mode timestamp needs the path of a date that every write moves.",
            "Set `capture.field`, or ask for another mode.",
        )
    if not category.capture.compare_ids and category.deleted_field is None:
        raise ConfigurationError(
            f"Category {category.name}: capture mode timestamp without `capture.compare_ids` sees no deletion.",
            "Set `capture.compare_ids: true` or `deleted_field`.",
        )
    if is_indexed(database, category.collection, field):
        return asked
    return f"{asked}; no index begins with {field}, so that the server scans the collection for it"
