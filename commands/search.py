"""Searching an index from the command line, as an inference service does."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from commands.shared import AsJson, Config, index_to_search, load_config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG

if TYPE_CHECKING:
    from inference.options import SearchOptions
    from inference.results import Context, SearchResult

_SHOWN = 300  # characters of a result


def search(  # noqa: PLR0913, PLR0917  each is an option of the command line
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", help="Number of results.", min=1, max=1000)] = 3,
    index: Annotated[str | None, typer.Option(help="Name of the index; default: the first one configured.")] = None,
    alpha: Annotated[
        float | None, typer.Option(min=0, max=1, help="0: keywords alone, 1: vectors alone; default: the index's own.")
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="FIELD=VALUE", help="Also FIELD>=VALUE, FIELD=A,B, FIELD?; may be repeated."),
    ] = None,
    rrf: Annotated[bool, typer.Option("--rrf", help="Fuse by rank on the server instead of by score.")] = False,  # noqa: FBT002
    context: Annotated[
        int | None, typer.Option(metavar="TOKENS", min=1, help="One context of at most so many tokens.")
    ] = None,
    neighbours: Annotated[int, typer.Option(min=0, max=100, help="Show so many chunks around each result.")] = 0,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Search an index: hybrid of BM25 and dense vectors."""
    name, trusted = index_to_search(load_config(config), index)
    settings = started()
    from feature_store.index import open_qdrant
    from inference.filters import parse_filters
    from inference.retriever import Retriever

    with open_qdrant(settings) as client:
        retriever = Retriever.from_index(name, client, trusted)
        options: SearchOptions = {
            "alpha": alpha,
            "fusion": "rrf" if rrf else "convex",
            "filters": parse_filters(filters or [], retriever.metadata.payload_indexes),
            "neighbours": neighbours,
        }
        if context is None:
            _print_results(retriever.search(query, k, **options), as_json=as_json)
        else:
            _print_context(retriever.context(query, context, **options), as_json=as_json)


def _print_results(results: "list[SearchResult]", *, as_json: bool) -> None:
    if as_json:
        print_json([result.model_dump(mode="json") for result in results])
        return
    if not results:
        output.print("No results.")
    for rank, result in enumerate(results, start=1):
        heading = " > ".join(result.heading_path)
        output.print(f"[bold]{rank}. {escape(result.title or result.document_id)}[/]  [dim]{result.score:.3f}[/]")
        output.print(f"   [cyan]{escape(result.url or result.payload['source_id'])}[/] [dim]{escape(heading)}[/]")
        output.print(f"   {escape(' '.join(result.text.split())[:_SHOWN])}\n")


def _print_context(context: "Context", *, as_json: bool) -> None:
    if as_json:
        print_json(context.model_dump(mode="json"))
        return
    output.print(context.to_prompt() or "No results.", markup=False, highlight=False, soft_wrap=True)
    output.print(f"\n[dim]{context.tokens:,} tokens[/]")
