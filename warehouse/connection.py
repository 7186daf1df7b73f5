"""The connection to the warehouse: MongoDB where ``MONGO_URI`` is set, else the embedded server."""

import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConnectionFailure, InvalidName, OperationFailure, PyMongoError

from feature_store.errors import ConfigurationError, TransientError
from feature_store.settings import Settings
from warehouse.keeping import keep

SERVER_SELECTION_MILLISECONDS = 5000
_REASON_CHARACTERS = 200


@contextmanager
def open_warehouse(settings: Settings) -> Iterator[Database[dict[str, Any]]]:
    """Give the database of the warehouse; it has answered a ping.

    Dates come back in UTC with their time zone (one that Python's ``datetime`` cannot hold as ``DatetimeMS``), UUIDs as
    ``uuid.UUID``. No message holds the address, the user or the password.

    Raises:
        ConfigurationError: if address, credentials or database name are not accepted.
        TransientError: if no server answers in time.
    """
    if settings.mongo_uri is not None:
        with _connected(settings, settings.mongo_uri) as database:
            yield database
        return
    # Not at the top: it needs POSIX, and a real server does not need it.
    from warehouse.embedded import HOST, embedded_server

    keep(embedded_server(settings))
    with (
        embedded_server(settings) as port,
        _connected(settings, SecretStr(f"mongodb://{HOST}:{port}")) as database,
    ):
        yield database


def collection_names(database: Database[dict[str, Any]]) -> list[str]:
    """Return the names of the collections that may be read, sorted; the server's own are left out.

    Raises:
        ConfigurationError: if the server does not let this user list them.
        TransientError: if it does not answer.
    """
    try:
        names = database.list_collection_names(authorizedCollections=True)
    except OperationFailure as error:
        raise ConfigurationError(
            f"The warehouse does not let this user list the collections of {database.name!r} (code {error.code}).",
            "Give the user of MONGO_URI the role `read` on this database.",
        ) from None
    except ConnectionFailure as error:
        raise TransientError("The warehouse stopped answering.", _reason(error)) from None
    return sorted(name for name in names if not name.startswith("system."))


@contextmanager
def _connected(settings: Settings, address: SecretStr) -> Iterator[Database[dict[str, Any]]]:
    with closing(_client(settings, address)) as client:
        yield _answering_database(settings, client)


# `from None` below: the driver's errors may quote parts of the address, and a chained error would be printed too. The
# address stays a SecretStr, for some programs print the local variables of a traceback.


def _client(settings: Settings, address: SecretStr) -> MongoClient[dict[str, Any]]:
    try:
        with warnings.catch_warnings():
            # The driver only warns of an unknown or invalid option and goes on without it: without `tls`, for example.
            warnings.simplefilter("error", UserWarning)
            return MongoClient(
                address.get_secret_value(),
                appname="feature-pipeline",
                tz_aware=True,
                uuidRepresentation="standard",
                datetime_conversion="DATETIME_AUTO",
                unicode_decode_error_handler="replace",  # one broken string must not make its neighbours unreadable
                serverSelectionTimeoutMS=SERVER_SELECTION_MILLISECONDS,
            )
    except (PyMongoError, UserWarning, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"The driver does not accept the address of {settings.describe_warehouse()} ({type(error).__name__}).",
            "MONGO_URI has the form mongodb://user:password@host:port/?option=value; check the port and the names and "
            "values of the options, and percent-encode special characters in user name and password.",
        ) from None


def _answering_database(settings: Settings, client: MongoClient[dict[str, Any]]) -> Database[dict[str, Any]]:
    where = settings.describe_warehouse()
    try:
        database = client[settings.mongo_database]
        database.command("ping")
    except InvalidName:
        raise ConfigurationError(
            f"{settings.mongo_database!r} is not a database name.", "Correct MONGO_DATABASE."
        ) from None
    except OperationFailure as error:
        raise ConfigurationError(
            f"{where} refuses the user name or the password (code {error.code}).",
            "Check both, and the option `authSource`, in MONGO_URI.",
        ) from None
    except ConnectionFailure as error:
        raise TransientError(
            f"{where} does not answer: {_reason(error)}.", "Check that it runs and that this machine may reach it."
        ) from None
    except PyMongoError as error:
        raise ConfigurationError(
            f"{where} cannot be used ({type(error).__name__}).", "Check MONGO_URI and the version of the server."
        ) from None
    return database


def _reason(error: PyMongoError) -> str:
    # The first part names the host and what the network said; the rest is the driver's view of the topology.
    return str(error).split(" (configured timeouts", 1)[0].split(", Timeout:", 1)[0][:_REASON_CHARACTERS]
