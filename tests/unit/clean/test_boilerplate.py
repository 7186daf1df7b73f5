import pytest

from steps.clean.blocks import Block
from steps.clean.boilerplate import remove_boilerplate, remove_glued_chrome
from steps.clean.markdown import clean_markdown

PROSE = "This sentence has more than enough words to be prose of the author."
WIDGET = "Share this post\n\n#### A Title\n\nx.substack.com\n\nCopy link\n\nFacebook\n\nEmail\n\nNote\n\nOther"


def test_a_list_of_links_into_the_page_is_left_out_with_its_title():
    source = f"# T\n\n## Table of Contents\n\n- [One](#one)\n- [Two](#two)\n\n## One\n\n{PROSE}\n\n## Two\n\n{PROSE}"
    assert clean_markdown(source) == f"# T\n\n## One\n\n{PROSE}\n\n## Two\n\n{PROSE}"


def test_a_list_that_repeats_the_headings_is_left_out():
    source = f"## Sections\n\n- One\n- Two\n- Three\n\n## One\n\n{PROSE}\n\n## Two\n\nb\n\n## Three\n\nc"
    assert clean_markdown(source) == f"## One\n\n{PROSE}\n\n## Two\n\nb\n\n## Three\n\nc"


def test_a_title_of_contents_with_other_text_below_stays():
    assert clean_markdown(f"## Contents\n\n{PROSE}") == f"## Contents\n\n{PROSE}"


def test_a_menu_above_the_first_prose_is_left_out():
    source = (
        f"# T\n\n[Docs](http://d.org) | [Chat](http://c.org)\n\n- [A](http://a.org)\n- [B](http://b.org)\n\n{PROSE}"
    )
    assert clean_markdown(source) == f"# T\n\n{PROSE}"


def test_a_list_of_links_further_down_says_what_exists_and_stays():
    source = f"{PROSE}\n\n- [PostgreSQL](http://p.org)\n- [MySQL](http://m.org)"
    assert clean_markdown(source) == f"{PROSE}\n\n- PostgreSQL\n- MySQL"


def test_the_chrome_of_a_scraped_page_is_left_out():
    source = (
        f"SubscribeSign in\n\n{WIDGET}\n\n# A Title\n\n14\n\n{WIDGET}\n\nShare\n\n{PROSE}\n\n7\n\n{WIDGET}\n\nComments"
    )
    assert clean_markdown(source) == f"# A Title\n\n{PROSE}"


def test_what_follows_the_discussion_of_a_scraped_page_is_left_out():
    source = f"SubscribeSign in\n\n{PROSE}\n\n#### Discussion about this post\n\nI liked it."
    assert clean_markdown(source) == PROSE


@pytest.mark.parametrize("word", ["Share", "Comments", "Email", "Top", "Follow"])
def test_common_words_stay_on_a_page_that_was_not_scraped(word):
    assert clean_markdown(f"{PROSE}\n\n## {word}\n\n{PROSE}") == f"{PROSE}\n\n## {word}\n\n{PROSE}"


def test_menus_with_icons_are_left_out_and_icons_elsewhere_removed():
    source = (
        f"  * __Course\n  * __About\n\n__\n\n1. Crumb\n\n# T\n\n  * **Group** __\n    * Sub\n\n{PROSE}\n\n- a\n\n__End"
    )
    assert clean_markdown(source) == f"# T\n\n{PROSE}\n\n- a\n\nEnd"


def test_a_title_repeated_above_the_prose_of_a_scraped_page_is_said_once():
    source = f"SubscribeSign in\n\n# A\n\n### B\n\n#### _B_\n\n{PROSE}\n\n### B"
    assert clean_markdown(source) == f"# A\n\n### B\n\n{PROSE}\n\n### B"


def test_a_page_of_medium_without_line_ends_begins_and_ends_with_its_text():
    head = "Title | BlogOpen in appSign upSign inWriteSign upSign inTitleBy Me·12 min read·Mar 30, 2024358ListenShare"
    tail = "Sign up to discover human stories that deepen your understandingHelpStatusAboutCareersPressBlogPrivacyTerms"
    assert remove_glued_chrome(f"{head}The text itself.{tail}") == "The text itself."
    assert remove_glued_chrome(f"{head}The text itself.") == f"{head}The text itself."


def test_blocks_of_an_ordinary_document_pass_unchanged():
    blocks = [Block("heading", "T", level=1), Block("paragraph", PROSE), Block("code", "```\nShare\n```")]
    assert remove_boilerplate(blocks) == blocks
