"""Opening the ZenML dashboard: that of the configured server, or else a local one over the user's own ZenML store."""

import subprocess
import sys
from pathlib import Path

from feature_store.errors import TerminalError


def open_dashboard(port: int) -> None:
    """Show the dashboard; a local one is served until Ctrl-C.

    Raises:
        TerminalError: if ZenML cannot start or show it.
    """
    from zenml.client import Client
    from zenml.zen_stores.sql_zen_store import SqlZenStore

    client = Client()
    if not isinstance(client.zen_store, SqlZenStore):
        _zenml("server", "show")
        return
    # Otherwise the first visit lands on a form that asks for name and mail address.
    client.update_user(
        client.active_user.id,
        updated_email_opt_in=False,
        updated_full_name=client.active_user.full_name or "local",
        updated_metadata={"finished_onboarding_survey": True},
    )
    _zenml("login", "--local", "--blocking", "--ip-address", "127.0.0.1", "--port", str(port))


def _zenml(*arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("zenml")), *arguments]
    finished = subprocess.run(command, check=False)  # noqa: S603
    if finished.returncode not in {0, -2}:
        raise TerminalError(f"`zenml {' '.join(arguments)}` ended with {finished.returncode}.", "Its message is above.")
