import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inference.voting import Voter, VotingOptions, vote

LETTERS = st.text("abcd \n", min_size=1, max_size=120).filter(str.strip)
SHARES = st.integers(0, 10).map(lambda tenths: tenths / 10)
EVERYTHING = VotingOptions(token_budget=10_000, threshold=0)


def chunk(document, size, position, start, end, score, document_id="d"):
    return Voter(
        chunk_id=f"{document_id}/{size}/{position}",
        document_id=document_id,
        size=size,
        position=position,
        start=start,
        end=end,
        token_count=max(1, len(document[start:end].split())),
        score=score,
        text=document[start:end],
    )


def chunks_of(document, size, overlap, document_id, scores):
    """Cut as the splitter does: windows of so many words, white space at their ends left out."""
    words = [match.span() for match in re.finditer(r"\S+", document)]
    for position, first in enumerate(range(0, len(words), size - overlap)):
        window = words[first : first + size]
        yield chunk(document, size, position, window[0][0], window[-1][1], scores(position), document_id)


@st.composite
def searches(draw):
    """Return documents by id, and voters of two sizes, some of the windows missing."""
    documents = {name: draw(LETTERS) for name in draw(st.sets(st.sampled_from("xyz"), min_size=1))}
    voters = []
    for name, document in documents.items():
        for size, overlap in ((6, draw(st.sampled_from([0, 3]))), (2, draw(st.sampled_from([0, 1])))):
            everything = list(chunks_of(document, size, overlap, name, lambda _: draw(SHARES)))
            voters += [voter for voter in everything if draw(st.booleans())]
    assume(voters)
    return documents, voters


OPTIONS = st.builds(
    VotingOptions,
    token_budget=st.integers(1, 60),
    threshold=SHARES,
    context_weight=st.sampled_from([0.0, 0.5, 1.0]),
    context_characters=st.integers(1, 50),
)


def characters(passages):
    return {(passage.document_id, offset) for passage in passages for offset in range(passage.start, passage.end)}


@given(searches(), OPTIONS)
def test_passages_never_overlap_and_come_in_reading_order(search, options):
    _, voters = search
    passages = vote(voters, options)
    seen = []
    for passage in passages:
        assert passage.start < passage.end
        if seen and seen[-1].document_id == passage.document_id:
            assert seen[-1].end <= passage.start
        else:
            assert passage.document_id not in {earlier.document_id for earlier in seen}
        seen.append(passage)


@given(searches(), OPTIONS)
def test_documents_come_in_the_order_of_their_best_passage(search, options):
    best = {}
    for passage in vote(search[1], options):
        best[passage.document_id] = max(passage.score, best.get(passage.document_id, 0))
    assert list(best.values()) == sorted(best.values(), reverse=True)


@given(searches(), OPTIONS)
def test_the_text_of_a_passage_is_that_of_its_document(search, options):
    documents, voters = search
    for passage in vote(voters, options):
        text = documents[passage.document_id][passage.start : passage.end]
        assert passage.text.split() == text.split()
        assert passage.text == passage.text.strip()


@given(LETTERS, st.lists(SHARES, min_size=40, max_size=40), OPTIONS)
def test_text_is_equal_to_the_letter_where_windows_overlap(document, scores, options):
    voters = list(chunks_of(document, 4, 2, "d", lambda position: scores[position % 40]))
    for passage in vote(voters, options):
        assert passage.text == document[passage.start : passage.end]


@given(searches(), OPTIONS)
def test_passages_stay_within_the_budget_but_for_a_best_atom_that_is_longer(search, options):
    passages = vote(search[1], options)
    assert passages
    if sum(passage.tokens for passage in passages) > options.token_budget + 1e-9:
        assert passages == vote(search[1], replace(options, token_budget=1, threshold=1))[: len(passages)]
        assert len(passages) == 1


@given(searches(), OPTIONS, st.integers(0, 30))
def test_a_larger_budget_only_adds_text(search, options, more):
    larger = replace(options, token_budget=options.token_budget + more)
    assert characters(vote(search[1], options)) <= characters(vote(search[1], larger))


@given(searches(), OPTIONS, SHARES)
def test_a_lower_threshold_only_adds_text(search, options, threshold):
    lower = replace(options, threshold=min(threshold, options.threshold))
    assert characters(vote(search[1], options)) <= characters(vote(search[1], lower))


@given(searches(), OPTIONS, st.randoms(use_true_random=False))
def test_the_order_of_the_voters_means_nothing(search, options, random):
    shuffled = list(search[1])
    random.shuffle(shuffled)
    assert vote(shuffled, options) == vote(search[1], options)


@given(searches())
def test_without_limits_everything_that_was_found_is_given(search):
    documents, voters = search
    found = {(voter.document_id, offset) for voter in voters for offset in range(voter.start, voter.end)}
    given_back = characters(vote(voters, EVERYTHING))
    visible = {(name, offset) for name, offset in found if not documents[name][offset].isspace()}
    assert visible <= given_back
    assert all(documents[name][offset].isspace() for name, offset in given_back - found)


@given(searches(), OPTIONS)
def test_a_passage_names_the_voters_that_voted_the_best_first(search, options):
    by_id = {voter.chunk_id: voter for voter in search[1]}
    for passage in vote(search[1], options):
        voters = [by_id[name] for name in passage.chunk_ids]
        assert [voter.score for voter in voters] == sorted((voter.score for voter in voters), reverse=True)
        overlapping = {
            voter.chunk_id
            for voter in search[1]
            if voter.document_id == passage.document_id and voter.start < passage.end and passage.start < voter.end
        }
        assert set(passage.chunk_ids) == overlapping


def test_the_sentence_that_both_sizes_find_is_chosen():
    document = "one two three four five six"
    voters = [
        chunk(document, 6, 0, 0, 27, 1.0),
        chunk(document, 2, 0, 0, 7, 0.2),
        chunk(document, 2, 1, 8, 18, 0.9),
        chunk(document, 2, 2, 19, 27, 0.1),
    ]
    (passage,) = vote(voters, VotingOptions(threshold=0.95, context_weight=0))
    assert passage.text == "three four"
    assert passage.score == pytest.approx(1.0 + 0.5 * 0.9)
    assert passage.tokens == 2
    assert passage.chunk_ids == ("d/6/0", "d/2/1")


def test_of_two_windows_of_one_size_the_better_one_votes():
    document = "one two three four"
    voters = [chunk(document, 3, 0, 0, 13, 0.4), chunk(document, 3, 1, 4, 18, 0.8)]
    passages = vote(voters, replace(EVERYTHING, threshold=0.9, context_weight=0))
    assert [(passage.text, passage.score) for passage in passages] == [("two three four", 0.8)]


def test_given_weights_decide_which_size_counts():
    document = "one two three four"
    voters = [
        chunk(document, 2, 0, 0, 7, 0.9),
        chunk(document, 2, 1, 8, 18, 0.6),
        chunk(document, 1, 2, 8, 13, 0.5),
    ]

    def best(weights):
        return vote(voters, VotingOptions(threshold=1, context_weight=0, weights=weights))[0].text

    assert best({2: 1, 1: 0.2}) == "one two"
    assert best({2: 1, 1: 1}) == "three"


def test_a_size_without_a_weight_is_refused():
    with pytest.raises(ValueError, match="no weight for size 2"):
        vote([chunk("one two", 2, 0, 0, 7, 1.0)], VotingOptions(weights={3: 1.0}))


def test_of_equal_atoms_the_one_in_better_company_wins():
    document = "lone " + "x " * 50 + "near hit next"
    start = document.index("near")
    voters = [
        chunk(document, 1, 0, 0, 4, 0.8),
        chunk(document, 1, 51, start, start + 4, 0.6),
        chunk(document, 1, 52, start + 5, start + 8, 0.8),
        chunk(document, 1, 53, start + 9, start + 13, 0.6),
    ]
    with_context = VotingOptions(token_budget=1, context_characters=20)
    assert [passage.text for passage in vote(voters, with_context)] == ["hit"]
    without = vote(voters, replace(with_context, context_weight=0))
    assert [passage.text for passage in without] == ["lone"]
    # "hit" as a half of 3, the others by 4 characters each, over 40 characters
    expected = 0.8 + (3 * 0.8 + 8 * 0.6) / 40
    assert vote(voters, with_context)[0].score == pytest.approx(expected)


@pytest.mark.parametrize(
    ("space", "filled"), [(" ", "\n"), ("\n", "\n"), ("\n\n", "\n\n"), (" \n \n ", "\n\n\n\n\n")], ids=repr
)
def test_space_that_no_chunk_holds_is_filled_between_neighbours_of_one_size(space, filled):
    document = f"one{space}two"
    second = 3 + len(space)
    voters = [chunk(document, 1, 0, 0, 3, 1.0), chunk(document, 1, 1, second, second + 3, 1.0)]
    (passage,) = vote(voters, EVERYTHING)
    assert passage.text == f"one{filled}two"
    assert (passage.start, passage.end) == (0, len(document))


def test_space_that_a_larger_chunk_holds_is_taken_from_it():
    document = "one\ntwo"
    voters = [
        chunk(document, 2, 0, 0, 7, 1.0),
        chunk(document, 1, 0, 0, 3, 1.0),
        chunk(document, 1, 1, 4, 7, 1.0),
    ]
    (passage,) = vote(voters, EVERYTHING)
    assert passage.text == document


def test_chunks_with_one_between_them_that_was_not_found_stay_apart():
    document = "one a two"
    voters = [chunk(document, 1, 0, 0, 3, 1.0), chunk(document, 1, 2, 6, 9, 1.0)]
    assert [passage.text for passage in vote(voters, EVERYTHING)] == ["one", "two"]


def test_the_same_offsets_in_other_documents_are_other_places():
    voters = [chunk("one two", 2, 0, 0, 7, 0.5, "a"), chunk("six ten", 2, 0, 0, 7, 1.0, "b")]
    assert [(passage.document_id, passage.text) for passage in vote(voters, EVERYTHING)] == [
        ("b", "six ten"),
        ("a", "one two"),
    ]


def test_no_voters_give_no_passages():
    assert vote([], VotingOptions()) == []


@pytest.mark.parametrize(
    "wrong",
    [{"token_budget": 0}, {"threshold": -0.1}, {"threshold": 1.1}, {"context_weight": -1.0}, {"context_characters": 0}],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VotingOptions(**wrong)
