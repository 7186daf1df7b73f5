from steps.clean.blocks import Block, merge_lists, render_blocks


def paragraph(text):
    return Block("paragraph", text)


def bullets(*items, kind="bullet_list", level=0):
    return Block(kind, level=level, items=tuple(tuple(item) for item in items))


def test_a_list_under_its_own_paragraph_needs_no_blank_line():
    inner = bullets([paragraph("b")])
    assert render_blocks([bullets([paragraph("a"), inner])]) == "- a\n  - b"


def test_an_ordered_list_that_starts_late_is_kept_apart_from_a_paragraph():
    late = bullets([paragraph("b")], kind="ordered_list", level=3)
    assert render_blocks([bullets([paragraph("a"), late])]) == "- a\n\n  3. b"


def test_numbers_go_on_from_the_first():
    assert render_blocks([bullets([paragraph("a")], [paragraph("b")], kind="ordered_list", level=9)]) == "9. a\n10. b"


def test_items_with_several_blocks_are_separated_by_blank_lines():
    assert render_blocks([bullets([paragraph("a"), paragraph("b")], [paragraph("c")])]) == "- a\n\n  b\n\n- c"


def test_lines_of_spaces_in_code_keep_their_length_in_a_list():
    assert render_blocks([bullets([Block("code", "```\n  \nx\n```")])]) == "- ```\n    \n  x\n  ```"


def test_every_line_of_a_quote_is_marked():
    quote = Block("quote", items=((paragraph("a"), paragraph("b")),))
    assert render_blocks([quote]) == "> a\n>\n> b"


def test_neighbouring_lists_of_one_kind_become_one():
    first, second, third = (bullets([paragraph(text)]) for text in "abc")
    ordered = bullets([paragraph("d")], kind="ordered_list", level=1)
    assert merge_lists([first, second, ordered, third]) == [
        bullets([paragraph("a")], [paragraph("b")]),
        ordered,
        third,
    ]


def test_leaves_are_the_texts_in_reading_order():
    nested = bullets([paragraph("a"), bullets([paragraph("b")])], [paragraph("c")])
    assert [leaf.text for leaf in nested.leaves()] == ["a", "b", "c"]
