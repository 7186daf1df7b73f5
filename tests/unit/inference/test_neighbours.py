"""The sentence window: results with the chunks around them, in one request, merged where they meet."""

import pytest

from inference.merging import Piece, passages_of
from inference.neighbours import with_neighbours


def same_kind(index, payload):
    """Return the payloads of the chunks of that document and size (or of its parents), in order."""
    wanted = (payload["document_id"], payload.get("size"), payload.get("role"))
    found = [
        other
        for other in index.points().values()
        if (other["document_id"], other.get("size"), other.get("role")) == wanted
    ]
    return sorted(found, key=lambda other: other["position"])


@pytest.mark.parametrize("neighbours", [1, 2, 50])
def test_a_result_is_widened_by_so_many_chunks_on_both_sides(any_index, neighbours):
    retriever = any_index.retriever()
    for mark in ("mark3x0", "mark3x4", "mark3x7"):
        (alone,), (wide,) = retriever.search(mark, 1), retriever.search(mark, 1, neighbours=neighbours)
        around = same_kind(any_index, alone.payload)
        place = alone.payload["position"]
        window = around[max(0, place - neighbours) : place + neighbours + 1]
        assert wide.start == window[0]["start"]
        assert wide.end == max(payload["end"] for payload in window)
        assert wide.spans == alone.spans
        assert wide.chunk_id == alone.chunk_id
        assert wide.score == pytest.approx(alone.score, abs=1e-6)
        assert wide.text.split() == any_index.texts()[wide.document_id][wide.start : wide.end].split()


def test_all_results_of_all_queries_are_widened_in_one_request(any_index):
    retriever = any_index.retriever()
    any_index.client.requests.clear()
    retriever.search_batch(["mark3x2", "mark5x2 river"], 4, neighbours=2)
    assert any_index.client.requests["scroll"] == 1


def test_results_that_meet_become_one(any_index):
    retriever = any_index.retriever()
    alone = retriever.search("mark3x1 mark3x3 mark3x5", 3, alpha=0)
    wide = retriever.search("mark3x1 mark3x3 mark3x5", 3, alpha=0, neighbours=3)
    assert len(wide) < len(alone)
    assert {span for each in wide for span in each.spans} == {span for each in alone for span in each.spans}
    for one in wide:
        assert not any(
            other is not one and other.document_id == one.document_id and other.start <= one.end <= other.end
            for other in wide
        )


def test_a_result_whose_document_has_changed_meanwhile_stays_as_it_is(any_index):
    retriever = any_index.retriever()
    (found,) = retriever.search("mark3x4", 1)
    outdated = found.model_copy(update={"payload": {**found.payload, "end": found.end - 1}})
    snapshot = retriever._serving.current()
    ((kept,),) = with_neighbours(any_index.client, snapshot, [passages_of([outdated])], 2)
    assert kept.pieces == (Piece.of(outdated.payload),)


def test_nothing_found_asks_for_no_neighbours(any_index):
    retriever = any_index.retriever()
    any_index.client.requests.clear()
    assert retriever.search("mark3x4", 3, filters={"topic": "none"}, neighbours=2) == []
    assert any_index.client.requests["scroll"] == 0


def test_a_context_with_neighbours_keeps_its_budget(any_index):
    retriever = any_index.retriever()
    for budget in (5, 60, 120, 1000):
        made = retriever.context("mark3x4 river", budget, neighbours=1)
        assert 0 < made.tokens <= budget
        assert made.tokens == len(any_index.encoder.token_spans(made.text))
