"""An edit changes few chunks: what is embedded again is what was edited, not the rest of the document."""

import random

import pytest

from feature_store.index_config import SlidingWindowConfig
from steps.chunk.sliding_window import chunk_document

EDITS = {
    "a word": " Inserted.",
    "a sentence": " This sentence was put in later, and it is long enough to move all that follows it by some tokens.",
    "a paragraph": "\n\nA new paragraph. " + "It has several sentences of words. " * 4,
}


def prose(seed, paragraphs):
    source = random.Random(seed)

    def sentence():
        words = [source.choice(["alpha", "beta", "gamma", "delta", "epsilon"]) for _ in range(source.randint(4, 25))]
        return f"{' '.join(words).capitalize()}."

    return [" ".join(sentence() for _ in range(source.randint(1, 6))) for _ in range(paragraphs)]


def with_headings(paragraphs):
    return "\n\n".join(f"## Heading {i}\n\n{p}" if i % 4 == 0 else p for i, p in enumerate(paragraphs))


def equal_sentences(count):
    return " ".join(f"Sentence number {i} has as many words as any." for i in range(count))


def changed_chunks(words, make_document, text, edited, overlap):
    chunking = SlidingWindowConfig(window=100, overlap=overlap)
    before = {chunk.chunk_id for chunk in chunk_document(make_document(text), chunking, words, 1_000)}
    after = [chunk.chunk_id for chunk in chunk_document(make_document(edited), chunking, words, 1_000)]
    assert len(after) > 50
    return len(set(after) - before)


@pytest.mark.parametrize("overlap", [0, 20])
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize(
    ("layout", "mean_at_most"),
    [(with_headings, 2.5), ("\n\n".join, 3.5), (" ".join, 6.0)],
    ids=["sections", "paragraphs", "sentences"],
)
def test_an_edit_in_a_long_document_changes_few_chunks(words, make_document, layout, mean_at_most, edit, overlap):
    counts = []
    for seed in range(12):
        paragraphs = prose(seed, 160)
        edited = [*paragraphs]
        edited[seed * 5] += edit
        counts.append(changed_chunks(words, make_document, layout(paragraphs), layout(edited), overlap))
    assert min(counts) >= 1
    assert sum(counts) / len(counts) <= mean_at_most


def test_an_insertion_among_sentences_of_equal_length_does_not_move_all_chunks_behind_it(words, make_document):
    # Filling every window to the brim would never fall into step again here.
    text = equal_sentences(1_000)
    assert changed_chunks(words, make_document, text, f"New one here. {text}", overlap=20) <= 6


@pytest.mark.parametrize("heading_level", [1, 2, 3])
def test_an_edit_in_a_section_leaves_the_chunks_of_other_long_sections_alone(words, make_document, heading_level):
    heading = "#" * heading_level
    sections = [f"{heading} Section {i}\n\n" + "\n\n".join(prose(i, 8)) for i in range(20)]
    edited = [*sections]
    edited[7] = edited[7].replace("alpha", "another few words", 5)
    chunking = SlidingWindowConfig(window=100, overlap=20)
    before, after = (
        chunk_document(make_document("\n\n".join(parts)), chunking, words, 1_000) for parts in (sections, edited)
    )
    changed = {chunk.chunk_id for chunk in after} - {chunk.chunk_id for chunk in before}
    assert {chunk.heading_path for chunk in after if chunk.chunk_id in changed} == {("Section 7",)}
