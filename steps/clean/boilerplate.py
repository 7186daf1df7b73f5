"""What a page holds beside its text: tables of contents, navigation, share buttons, cookie notices.

Names such as "Share" or "Comments" are words like any others, so they only count on a page that says elsewhere, in
words that no author writes, that it was scraped.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from steps.clean.blocks import Block

_CONTENTS_TITLE = re.compile(
    r"\W*(?:table of contents?|contents?|toc|sections|on this page|in this article|quick links)\W*", re.IGNORECASE
)
_MINIMUM_CONTENTS_ITEMS = 3
_CONTENTS_SHARE = 0.8
_PROSE_WORDS = 8
_NAVIGATION_WORDS = 6

# Sure signs of a scraped page; each is also removed.
_SURE_SIGNS = frozenset({
    "share this post", "subscribesign in", "discussion about this post", "start writingget the app", "previousnext",
    "commentreplyshare", "open in app", "privacy ∙ terms ∙ collection notice", "sitemap · open in app · sign up",
    "substack is the home for great culture", "skip to content", "skip to main content", "accept all cookies",
    "sign upsign in", "open in appsign upsign in",
})  # fmt: skip
_CHROME = _SURE_SIGNS | frozenset({
    "subscribe", "sign in", "sign up", "log in", "login", "share", "copy link", "facebook", "email", "note", "other",
    "comments", "restacks", "top", "latest", "discussions", "no posts", "ready for more?", "listen", "follow", "write",
    "sitemap", "cookie settings", "cookie policy", "accept cookies", "manage cookies", "reject all", "accept all",
    "twitter", "linkedin", "reply", "like", "previous", "next", "menu", "search", "home", "more from medium", "help",
    "status", "about", "careers", "press", "blog", "privacy", "terms", "text to speech", "teams",
})  # fmt: skip
_CHROME_LINE = re.compile(
    r"©\s*\d{4}\b.{0,60}|copyright \d{4}.{0,60}|\d+ (?:more )?(?:repl(?:y|ies)|comments?)\b.{0,40}"
    r"|this site requires javascript to run correctly.*|to make medium work, we log user data.*"
    r"|(?:we use|this (?:web)?site uses) cookies\b.*|(?:[\w-]+\.)?(?:substack|medium)\.com",
    re.IGNORECASE | re.DOTALL,
)
_COUNTER = re.compile(r"[\d.,]+[KM]?")
_SHARE_WIDGET_START = "share this post"
_SHARE_WIDGET_END = "other"
_SHARE_WIDGET_LENGTH = 9
_COMMENTS_START = frozenset({"discussion about this post", "recommended from medium", "ready for more?"})
# What html2text makes of an icon: "__About", "LLM stuff __", "__".
_ICON = re.compile(r"(?:^|\s)__(?=\s|$)|^__(?=[A-Z])(?!.*__)")

# Pages of Medium whose tags were dropped without a space: "Open in appSign upSign in…Mar 30, 2024358ListenShare".
_GLUED_HEAD = re.compile(r"\A[^\n]{0,1200}?Sign upSign in[^\n]{0,1200}?ListenShare")
_GLUED_TAIL = re.compile(
    r"Sign up to discover human stories that deepen your understanding|Written by [^\n]{1,60}Followers·"
    r"|Recommended from Medium|See more recommendationsHelp"
)
_GLUED_SIGN = "HelpStatusAboutCareersPressBlogPrivacyTerms"


def remove_glued_chrome(text: str) -> str:
    """Return a page of Medium, scraped without line ends, from its first sentence to its last."""
    if _GLUED_SIGN not in text:
        return text
    tail = _GLUED_TAIL.search(text)
    return _GLUED_HEAD.sub("", text[: tail.start()] if tail else text, count=1)


def remove_boilerplate(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks without tables of contents, navigation and, on a scraped page, its chrome."""
    kept = list(blocks)
    if any(_words(block) in _SURE_SIGNS for block in kept):
        kept = _without_repeated_titles(_without_chrome(_without_share_widgets(_before_comments(kept))))
    if any(_ICON.search(leaf.text) for block in kept for leaf in block.leaves() if leaf.kind != "code"):
        kept = _without_icons(_without_menus(kept))
    return _without_contents(_without_navigation(kept))


def _words(block: Block) -> str:
    return " ".join(block.text.split()).casefold() if block.kind in {"paragraph", "heading"} else ""


def _before_comments(blocks: list[Block]) -> list[Block]:
    for position, block in enumerate(blocks):
        if position and _words(block) in _COMMENTS_START:
            return blocks[:position]
    return blocks


def _without_share_widgets(blocks: list[Block]) -> list[Block]:
    kept: list[Block] = []
    position = 0
    while position < len(blocks):
        if _words(blocks[position]) == _SHARE_WIDGET_START:
            window = [_words(block) for block in blocks[position : position + _SHARE_WIDGET_LENGTH]]
            position += window.index(_SHARE_WIDGET_END) if _SHARE_WIDGET_END in window else 0
            if kept and _COUNTER.fullmatch(kept[-1].text):
                kept.pop()
        else:
            kept.append(blocks[position])
        position += 1
    return kept


def _without_chrome(blocks: list[Block]) -> list[Block]:
    return [
        block for block in blocks if _words(block) not in _CHROME and not _CHROME_LINE.fullmatch(_words(block) or "-")
    ]


def _without_repeated_titles(blocks: list[Block]) -> list[Block]:
    prose = (position for position, block in enumerate(blocks) if _is_prose(block))
    start = next(prose, len(blocks))
    titles: dict[str, Block] = {}
    for block in blocks[:start]:
        titles.setdefault(_key(block.text) if block.kind == "heading" else f"{len(titles)}", block)
    return [*titles.values(), *blocks[start:]]


def _without_menus(blocks: list[Block]) -> list[Block]:
    first_heading = next((position for position, block in enumerate(blocks) if block.kind == "heading"), 0)
    return [
        block
        for position, block in enumerate(blocks)
        if not block.kind.endswith("_list")
        or (position > first_heading and not any(_ICON.search(leaf.text) for leaf in block.leaves()))
    ]


def _without_icons(blocks: list[Block]) -> list[Block]:
    bare = [
        replace(block, text=_ICON.sub("", block.text).strip()) if block.kind in {"paragraph", "heading"} else block
        for block in blocks
    ]
    return [block for block in bare if block.text or block.items]


def _without_navigation(blocks: list[Block]) -> list[Block]:
    kept: list[Block] = []
    prose_began = False
    for block in blocks:
        prose_began = prose_began or _is_prose(block)
        if not _is_navigation(block, prose_began=prose_began):
            kept.append(block)
    return kept


def _is_prose(block: Block) -> bool:
    return block.kind == "paragraph" and len(block.text.split()) >= _PROSE_WORDS


def _is_navigation(block: Block, *, prose_began: bool) -> bool:
    leaves = block.leaves()
    if not all(leaf.links for leaf in leaves):
        return False
    if all(target.startswith("#") for leaf in leaves for target in leaf.links):
        return block.kind.endswith("_list") or len(block.links) > 1
    # Further down, a list of links says what exists ("supported databases"); above all prose it is a menu.
    is_menu = len(leaves) > 1 or len(block.links) > 1
    return (
        is_menu
        and not prose_began
        and all(len(leaf.text.split()) <= _NAVIGATION_WORDS * len(leaf.links) for leaf in leaves)
    )


def _without_contents(blocks: list[Block]) -> list[Block]:
    headings = {_key(block.text) for block in blocks if block.kind == "heading"}
    kept: list[Block] = []
    for position, block in enumerate(blocks):
        if block.kind.endswith("_list") and _is_contents(block, headings):
            continue
        following = blocks[position + 1] if position + 1 < len(blocks) else None
        is_title = block.kind in {"heading", "paragraph"} and _CONTENTS_TITLE.fullmatch(block.text)
        if is_title and (following is None or following.kind == "heading" or _is_contents(following, headings)):
            continue
        kept.append(block)
    return kept


def _is_contents(block: Block, headings: set[str]) -> bool:
    if not block.kind.endswith("_list"):
        return False
    leaves = block.leaves()
    found = sum(_key(leaf.text) in headings for leaf in leaves)
    return len(leaves) >= _MINIMUM_CONTENTS_ITEMS and found >= _CONTENTS_SHARE * len(leaves)


def _key(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())
