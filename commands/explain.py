"""`explain`: the way of a chunk or a document, back to the warehouse and forward to whatever holds it."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from commands.shared import AsJson, Config, load_config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG

if TYPE_CHECKING:
    from pipelines.explain import (
        ChunkInContext,
        Explanation,
        FoundChunk,
        FoundDocument,
        FoundReject,
        HoldingIndex,
        Origin,
    )

_TEXT_CHARACTERS = 600
_CHUNKS_SHOWN = 12
_CHUNK_CHARACTERS = 90


def explain(
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="A point or chunk id, a document id, or category:source_id.")
    ],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Say where a chunk or a document comes from, and which chunks, indexes, exports and releases hold it.

    Back: chunk, cleaned document at the version of the index, raw document in the warehouse.
    """
    pipeline_config = load_config(config)
    settings = started()
    from pipelines.explain import explain as explained

    found = explained(settings, pipeline_config, identifier)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    if found.chunk is not None:
        _print_chunk(found.chunk)
    if found.reject is not None:
        _print_reject(found, found.reject)
    if found.document is not None and not (found.reject and found.document.state == "deleted"):
        _print_document(found, found.document)
    if found.document is None and found.reject is None:
        _say(0, f"[bold]Document[/] {found.document_id}: {found.state}")
    _print_raw(found)
    _print_holders(found)
    for problem in found.problems:
        _say(0, f"[yellow]{escape(problem)}[/]")


def _print_chunk(chunk: "ChunkInContext") -> None:
    found = chunk.chunk
    serves = "serves" if chunk.serving else "does not serve"
    _say(0, f"[bold]Chunk[/] {found.chunk_id}")
    _say(1, f"in {escape(found.collection)}, index {escape(chunk.index)} ({serves}) at version {chunk.version}")
    _say(1, f"characters {found.start:,} to {found.end:,} of its document, {found.token_count:,} tokens")
    if found.heading_path:
        _say(1, f"under {escape(' > '.join(found.heading_path))}")
    if chunk.is_in_document is False:
        _say(1, "[red]The document's text at that version does not have it at this place.[/]")
    for label, text in (("before", chunk.before), ("text", found.text), ("after", chunk.after)):
        if text:
            _say(1, f"{label}: {escape(text)}")
    _say(0, "")


def _print_document(found: "Explanation", document: "FoundDocument") -> None:
    name = f"{found.category}:{found.source_id}"
    _say(0, f"[bold]Document[/] {found.document_id}, {escape(name)}, at version {document.version}: {document.state}")
    for field, value in document.described.items():
        _say(1, f"{field}: {escape(value)}")
    _say(1, f"added in {_described(document.added_in)}")
    what = "deleted" if document.state == "deleted" else "changed"
    if document.changed_in != document.added_in:
        _say(1, f"{what} in {_described(document.changed_in)}")
    if found.state != document.state:
        _say(1, f"[yellow]{found.state} in the newest version[/]")
    if document.duplicate_of is not None:
        _say(1, f"same text as document {document.duplicate_of}")
    if document.text is not None:
        rest = f" … ({document.characters:,} characters)" if document.characters > _TEXT_CHARACTERS else ""
        _say(1, f"{escape(document.text[:_TEXT_CHARACTERS])}[dim]{rest}[/]\n")


def _print_reject(found: "Explanation", reject: "FoundReject") -> None:
    name = f"{found.category}:{found.source_id}"
    _say(0, f"[bold]Document[/] {found.document_id}, {escape(name)}: {found.state}")
    _say(1, f"rejected as {escape(reject.reason)} in {_described(reject.rejected_in)}: {escape(reject.detail)}")
    if reject.excerpt:
        _say(1, f"{escape(reject.excerpt)}\n")


def _print_raw(found: "Explanation") -> None:
    if found.raw is not None:
        collection = f"collection {found.raw.collection}, " if found.raw.collection else ""
        _say(0, f"[bold]Raw document[/] {escape(collection)}_id {escape(found.raw.source_id)}: {found.raw.state}")
        _say(1, f"{escape(found.raw.detail)}\n")


def _print_holders(found: "Explanation") -> None:
    _say(0, "[bold]Held by[/]")
    for index in found.indexes:
        _print_index(index)
    for export in found.exports:
        place = f"split {export.split}, version {export.version}, {export.format} in {export.folder}"
        _say(1, f"export {export.export_id}: {escape(place)}")
    for release in found.releases:
        _say(1, f"release {escape(release)}")
    if not (found.indexes or found.exports or found.releases):
        _say(1, "no index, export or release")


def _print_index(index: "HoldingIndex") -> None:
    serves = "serves" if index.serving else "does not serve"
    parents = sum(chunk.role is not None for chunk in index.chunks)
    figures = f"{len(index.chunks) - parents:,} chunks{_in_parents(parents)} at version {index.version}"
    _say(1, f"index {escape(index.index)} ({serves}), {figures}, in {escape(index.collection)}")
    for chunk in index.chunks[:_CHUNKS_SHOWN]:
        text = " ".join(chunk.text.split())[:_CHUNK_CHARACTERS]
        _say(2, f"{chunk.chunk_id} [dim]{chunk.start:,}-{chunk.end:,}{_kind(chunk)}[/] {escape(text)}")
    if len(index.chunks) > _CHUNKS_SHOWN:
        _say(2, f"… and {len(index.chunks) - _CHUNKS_SHOWN:,} more (--json has all)")


def _kind(chunk: "FoundChunk") -> str:
    if chunk.role is not None:
        return f" {escape(chunk.role)}"
    return f" of {chunk.size} tokens" if chunk.size is not None else ""


def _in_parents(parents: int) -> str:
    return f" in {parents:,} parents" if parents else ""


def _described(origin: "Origin") -> str:
    if origin.created_at is None:
        return f"version {origin.version} (pruned)"
    message = f": {origin.message}" if origin.message else ""
    return escape(f"version {origin.version}, {origin.created_at}, run {origin.run_id}{message}")


def _say(level: int, text: str) -> None:
    output.print(f"{'  ' * level}{text}", highlight=False, soft_wrap=True)
