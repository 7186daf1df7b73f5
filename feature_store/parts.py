"""Part files: the unit of work. A stage reads one Parquet part and writes one, so memory stays flat.

They are in a local folder (a `Path`) or on shared storage (a `UPath` of any fsspec protocol), where several machines
read and write them. Nothing else knows the difference.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import PlainSerializer, PlainValidator

from feature_store.errors import TerminalError, TransientError

if TYPE_CHECKING:
    from upath import UPath

    Folder = Path | UPath
    Part = Path | UPath
else:  # importing it takes longer than all else here, and most folders are local
    Folder = Part = Path

_LOCAL_PROTOCOLS = ("file", "local")
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_FOOTERS_AT_ONCE = 16


def write_part(folder: Folder, name: str, number: int, table: pa.Table) -> Part:
    """Write ``<name>-<number>.parquet`` so that it is there whole or not at all, and return its path.

    Raises:
        TransientError: if shared storage does not take it.
    """
    part = folder / f"{name}-{number:06d}.parquet"
    if isinstance(part, Path):
        part.parent.mkdir(parents=True, exist_ok=True)
        unfinished = part.with_suffix(".unfinished")
        _write_table(table, unfinished)
        unfinished.replace(part)
        return part
    # Whole and in one call: closing a remote file after an error would keep its beginning.
    buffer = pa.BufferOutputStream()
    _write_table(table, buffer)
    _put(part, buffer.getvalue().to_pybytes())
    return part


def list_parts(folder: Folder, name: str) -> list[Part]:
    """Return the finished parts of that name, in order."""
    if isinstance(folder, Path):
        found: list[Part] = list(folder.glob(f"{name}-*.parquet"))
    else:
        with _storage(folder):
            folder.fs.invalidate_cache()  # others write too
            found = list(folder.glob(f"{name}-*.parquet"))
    return sorted(found, key=lambda part: (len(part.name), part.name))


def part_number(part: Part) -> int:
    """Return the number of a part."""
    return int(part.stem.rsplit("-", 1)[1])


def read_part(part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one part whole, or some columns of it."""
    wanted = None if columns is None else list(columns)
    if isinstance(part, Path):
        return pq.read_table(part, columns=wanted, memory_map=True)
    with _storage(part):
        content = part.fs.cat_file(part.path)
    return pq.read_table(pa.BufferReader(content), columns=wanted)


def first_rows(part: Part, limit: int, columns: Sequence[str]) -> pa.Table:
    """Return up to ``limit`` rows from the beginning of a part; only as much is decoded."""
    with _opened(part) as file:
        rows = next(pq.ParquetFile(file).iter_batches(limit, columns=list(columns)), None)
        return pa.Table.from_batches([rows]) if rows is not None else pa.table({})


def count_rows(parts: Iterable[Part]) -> int:
    """Return the number of rows in all the parts, from their footers."""
    every = list(parts)
    if all(isinstance(part, Path) for part in every):
        return sum(map(_rows_in, every))
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as threads:
        return sum(threads.map(_rows_in, every))


def remove_folder(folder: Folder) -> None:
    """Remove a folder of parts; one that is not there is fine."""
    if isinstance(folder, Path):
        if folder.exists():
            rmtree(folder)
        return
    with _storage(folder), suppress(FileNotFoundError):
        folder.fs.invalidate_cache()
        folder.fs.rm(folder.path, recursive=True)


def folders_in(folder: Folder) -> list[Folder]:
    """Return what is directly in a folder; nothing where there is none."""
    if isinstance(folder, Path):
        return list(folder.iterdir()) if folder.is_dir() else []
    with _storage(folder), suppress(FileNotFoundError):
        folder.fs.invalidate_cache()
        names = {str(path).rstrip("/").rsplit("/", 1)[-1] for path in folder.fs.ls(folder.path, detail=False)}
        return [folder / name for name in sorted(names - {folder.name})]  # some list a folder as part of itself
    return []


def write_file(place: Part, content: bytes) -> None:
    """Write a small file, and the folder that it is in."""
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    else:
        _put(place, content)


def read_file(place: Part) -> bytes:
    """Return the content of a small file."""
    if isinstance(place, Path):
        return place.read_bytes()
    with _storage(place):
        return bytes(place.fs.cat_file(place.path))


def remove_file(place: Part) -> None:
    """Remove a small file."""
    if isinstance(place, Path):
        place.unlink()
        return
    with _storage(place):
        place.fs.rm_file(place.path)


def probe(folder: Folder) -> None:
    """Write a file into the folder, read it again and remove it.

    Raises:
        TerminalError: if one of these is not possible.
    """
    place, content = folder / f"probe-{uuid4().hex}", b"written by the preflight check"
    try:
        write_file(place, content)
        same = read_file(place) == content
        remove_file(place)
    except (OSError, TransientError) as error:
        raise TerminalError(
            f"Part files cannot be written to, read from and removed from {folder}: {error}.", _remedy(folder)
        ) from error
    if not same:
        raise TerminalError(f"{folder} gives back other bytes than it was given.", "Set PARTS_URI to another place.")


def as_folder(place: str | Folder) -> Folder:
    """Return the folder at a path or an address."""
    if not isinstance(place, str):
        return place
    if "://" not in place:
        return Path(place)
    from upath import UPath

    found = UPath(place)
    return Path(found.path) if found.protocol in _LOCAL_PROTOCOLS else found


StoredFolder = Annotated[Folder, PlainValidator(as_folder), PlainSerializer(str, return_type=str, when_used="json")]


def require_usable_address(address: str) -> None:
    """Check that an address names a place for part files that can be reached with what is installed.

    Raises:
        ValueError: whose message does not quote the address, for it may hold a password.
    """
    from fsspec.registry import known_implementations  # type: ignore[import-untyped]

    protocol, _, rest = address.partition("://")
    if "::" in address or protocol not in known_implementations:
        raise ValueError("it must be a path, or an address such as s3://bucket/prefix or gs://bucket/prefix")
    if "@" in urlsplit(address).netloc or "?" in rest or "#" in rest:
        raise ValueError(
            "user names, passwords and options do not belong into it: s3fs and gcsfs read credentials from the "
            "environment, such as AWS_ACCESS_KEY_ID, AWS_PROFILE or GOOGLE_APPLICATION_CREDENTIALS"
        )
    if not rest.strip("/"):
        raise ValueError("it names no bucket or folder")
    package = known_implementations[protocol]["class"].partition(".")[0]
    if find_spec(package) is None:
        extra = _EXTRAS.get(protocol)
        install = f"pip install '.[{extra}]'" if extra else f"pip install {package}"
        raise ValueError(f"{protocol}:// needs the package {package}: {install}")


def _put(place: "UPath", content: bytes) -> None:
    with _storage(place):
        if place.protocol not in _OBJECT_STORES:  # these have no folders; s3fs would make a missing bucket
            place.fs.makedirs(place.parent.path, exist_ok=True)
        place.fs.pipe_file(place.path, content)


def _write_table(table: pa.Table, file: Any) -> None:
    # Hashes, texts and vectors hardly repeat: looking for what does takes four times as long, and more room.
    pq.write_table(table, file, compression="zstd", use_dictionary=False)


def _rows_in(part: Part) -> int:
    with _opened(part) as file:
        return int(pq.read_metadata(file).num_rows)


@contextmanager
def _opened(part: Part) -> Iterator[Any]:
    if isinstance(part, Path):
        yield part
        return
    with _storage(part), part.fs.open(part.path, "rb") as file:
        yield file


@contextmanager
def _storage(place: "UPath") -> Iterator[None]:
    """Name the place in what its file system raises after its own retries."""
    try:
        yield
    except (FileNotFoundError, pa.ArrowException):
        raise
    except Exception as error:  # each file system has a family of its own: botocore's, aiohttp's, Google's
        raise TransientError(f"{place}: {type(error).__name__}: {error}", _remedy(place)) from error


def _remedy(place: Folder) -> str:
    if isinstance(place, Path):
        return "Set PARTS_URI, or DATA_DIR where it is not set, to a folder that this user may write."
    return "Check that the bucket exists, its credentials in the environment, and the network."
