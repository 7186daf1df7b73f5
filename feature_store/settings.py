"""Where the services are: read from the environment, or from ``.env`` in the repository; never stored, never logged."""

import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from feature_store.defaults import REPOSITORY
from feature_store.errors import ConfigurationError

if TYPE_CHECKING:
    from feature_store.parts import Folder

_ENV_FILE = os.environ.get("ENV_FILE") or REPOSITORY / ".env"


class Settings(BaseSettings):
    """Services and folders of one installation.

    Without ``MONGO_URI`` the embedded warehouse under the data folder is used, without ``QDRANT_URL`` Qdrant's local
    mode there, without ``PARTS_URI`` part files are in ``runs`` there.
    """

    model_config = SettingsConfigDict(env_file=_ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True)

    data_dir: Path = Field(default=REPOSITORY / "data")
    mongo_uri: SecretStr | None = None
    mongo_database: str = Field(default="warehouse", min_length=1, max_length=63)
    qdrant_url: str | None = None
    qdrant_api_key: SecretStr | None = None
    minimum_free_disk_mb: int = Field(default=500, ge=0)
    parts_uri: str | None = None

    @field_validator("data_dir")
    @classmethod
    def absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("qdrant_url")
    @classmethod
    def is_a_web_address(cls, value: str | None) -> str | None:
        try:
            usable = value is None or urlsplit(value).scheme in {"http", "https"}
        except ValueError:  # its message quotes the address
            usable = False
        if not usable:
            raise ValueError("it must be an address that starts with http:// or https://")
        return value

    @field_validator("parts_uri")
    @classmethod
    def names_a_place(cls, value: str | None) -> str | None:
        """Let relative paths mean the same for every process; addresses may hold no credentials."""
        if value is None:
            return None
        if "://" not in value:
            return str(Path(value).expanduser().resolve())
        from feature_store.parts import require_usable_address

        require_usable_address(value)
        return value

    @cached_property
    def warehouse_folder(self) -> Path:
        return self.data_dir / "warehouse"

    @cached_property
    def feature_store_folder(self) -> Path:
        return self.data_dir / "feature_store"

    @cached_property
    def vectors_folder(self) -> Path:
        return self.data_dir / "vectors"

    @cached_property
    def indexes_folder(self) -> Path:
        return self.data_dir / "indexes"

    @cached_property
    def qdrant_folder(self) -> Path:
        return self.data_dir / "qdrant"

    @cached_property
    def work_folder(self) -> Path:
        """Files that only this machine needs, and only for a while."""
        return self.data_dir / "runs"

    @cached_property
    def runs_folder(self) -> "Folder":
        """Part files, in a folder for each run.

        Below ``PARTS_URI`` they have a folder of this installation alone: whatever is in there may be removed.
        """
        if self.parts_uri is None:
            return self.work_folder
        from feature_store.parts import as_folder

        return as_folder(self.parts_uri) / f"parts-{_installation_id(self.data_dir)}"

    @cached_property
    def reports_folder(self) -> Path:
        return self.data_dir / "reports"

    def describe_warehouse(self) -> str:
        """Return where the warehouse is, without user name and password."""
        if self.mongo_uri is None:
            return f"embedded warehouse in {self.warehouse_folder}"
        return f"MongoDB at {redacted(self.mongo_uri.get_secret_value())}"

    def describe_qdrant(self) -> str:
        """Return where Qdrant is, without credentials."""
        return f"Qdrant at {redacted(self.qdrant_url)}" if self.qdrant_url else f"local Qdrant in {self.qdrant_folder}"


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigurationError: naming the variable, never its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}" for item in error.errors()]
        raise ConfigurationError("The environment is not valid:\n" + "\n".join(lines)) from None


def _installation_id(data_dir: Path) -> str:
    """Return the id of a data folder, which is made when it is asked for first."""
    path = data_dir / "installation_id"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        unfinished = data_dir / f".installation_id.{uuid4().hex}"
        unfinished.write_text(uuid4().hex, encoding="utf-8")
        with suppress(FileExistsError):  # another process was quicker
            path.hardlink_to(unfinished)
        unfinished.unlink()
    return path.read_text(encoding="utf-8")


def redacted(address: str) -> str:
    """Return scheme and hosts of an address: no user, password, path or query.

    Works on MongoDB addresses with several hosts too, which URL parsers refuse.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return "(not an address)"
    before, _, hosts = rest.rpartition("@")
    # The last @: a password may hold unescaped separators. So may an option; then nothing is sure, and nothing shown.
    if "=" in before.partition("?")[2]:
        return f"{scheme}://(hosts not shown: percent-encode user name, password and options)"
    return f"{scheme}://{hosts.split('/', 1)[0].split('?', 1)[0]}"
