import pytest

from steps.clean.resolve import MAXIMUM_DEPTH, NotTextError, Piece, join_pieces, resolve_pieces


def test_texts_come_in_the_order_of_the_paths_and_missing_ones_are_left_out():
    fields = {"a": "x", "b": ["y", None, "z"], "c": None}
    assert resolve_pieces(fields, ["b", "c", "gone", "a"]) == [Piece("y"), Piece("z"), Piece("x")]


def test_texts_of_a_mapping_stand_under_their_keys():
    pieces = resolve_pieces({"a": {"One": "x", "Two": {"Deep": ["y", "z"]}}}, ["a"])
    assert pieces == [Piece("x", ("One",)), Piece("y", ("Two", "Deep")), Piece("z", ("Two", "Deep"))]
    assert join_pieces(pieces, "markdown") == "## One\n\nx\n\n## Two\n\n### Deep\n\ny\n\nz"
    assert join_pieces(pieces, "text") == "One\n\nx\n\nTwo\n\nDeep\n\ny\n\nz"


def test_a_key_without_text_is_left_out_but_not_its_parent():
    pieces = [Piece("", ("A", "empty")), Piece("x", ("A", "full"))]
    assert join_pieces(pieces, "markdown") == "## A\n\n### full\n\nx"


@pytest.mark.parametrize("value", [b"bytes", 7, 1.5, True, {"k": [7]}], ids=repr)
def test_values_that_are_no_text_are_refused_by_name(value):
    with pytest.raises(NotTextError, match=r"Field a"):
        resolve_pieces({"a": value}, ["a"])


def test_endless_nesting_is_refused():
    value = "x"
    for _ in range(MAXIMUM_DEPTH + 2):
        value = [value]
    with pytest.raises(NotTextError, match="nested"):
        resolve_pieces({"a": value}, ["a"])
