"""The documents that all systems get: READMEs and docstrings of this machine, and what changes in them."""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from langchain_text_splitters import RecursiveCharacterTextSplitter

from benchmarks.incremental import PACKAGES
from benchmarks.peers.common import CHUNK_CHARACTERS, Document
from steps.clean.text import clean_text
from warehouse.imports.distributions import read_distributions
from warehouse.imports.docstrings import SkippedFile, read_docstrings

SEED = 7
SHARE = 0.01


@dataclass(frozen=True)
class Corpus:
    """Documents before and after: 1 % edited in one paragraph, 1 % added, 1 % deleted."""

    before: list[Document]
    after: list[Document]
    edited: list[Document]
    added: list[Document]
    deleted: list[str]

    def describe(self) -> dict[str, int]:
        return {
            "documents": len(self.before),
            "characters": sum(len(document.text) for document in self.before),
            "edited": len(self.edited),
            "added": len(self.added),
            "deleted": len(self.deleted),
        }


def make_corpus(documents: int, characters: int) -> Corpus:
    """Return so many documents, the longest that have together about so many characters."""
    amount = round(documents * SHARE)
    size = documents + amount
    texts = sorted(set(_texts()), key=lambda text: (-len(text), text))
    if len(texts) < size:
        raise SystemExit(f"This machine has {len(texts)} documents; {size} are needed: lower --documents.")
    lengths = [len(text) for text in texts]
    places = range(len(texts) - size)
    first = next((place for place in places if sum(lengths[place : place + size]) <= characters), places.stop)
    chosen = list(islice(_usable(texts[first:]), size))
    chance = random.Random(SEED)  # noqa: S311 - the same choice each time
    chance.shuffle(chosen)
    return change(chosen[:documents], chosen[documents:], chance)


def part(corpus: Corpus, documents: int) -> Corpus:
    """Return the first documents of a corpus, with nothing that changes."""
    some = corpus.before[:documents]
    return Corpus(some, some, [], [], [])


def change(before: Sequence[Document], added: Sequence[Document], chance: random.Random) -> Corpus:
    """Edit and delete as many documents as are added."""
    touched = chance.sample(before, 2 * len(added))
    edited = {one.id: _edited(one, number, chance) for number, one in enumerate(touched[: len(added)])}
    deleted = {document.id for document in touched[len(added) :]}
    after = [edited.get(document.id, document) for document in before if document.id not in deleted]
    return Corpus(list(before), [*after, *added], list(edited.values()), list(added), sorted(deleted))


def write_lines(path: Path, documents: Iterable[Document]) -> Path:
    """Write documents as lines of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(document._asdict(), ensure_ascii=False) + "\n" for document in documents)
    return path


def squeezed(text: str) -> str:
    """Return a text without white space: what every splitter leaves as it is."""
    return "".join(text.split())


def _usable(texts: Iterable[str]) -> Iterator[Document]:
    """Yield distinct documents that any system keeps whole.

    They are clean beforehand, so that our cleaning changes nothing but white space in them, and no chunk occurs twice
    in one, for LangChain's `index()` keeps one of them.
    """
    splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK_CHARACTERS, chunk_overlap=0)
    seen = set()
    for raw in texts:
        text = clean_text(raw)
        name = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        if name in seen or squeezed(clean_text(text)) != squeezed(text):
            continue
        seen.add(name)
        chunks = splitter.split_text(text)
        if chunks and len(set(chunks)) == len(chunks):
            yield Document(name, text)


def _texts() -> Iterator[str]:
    def skip(file: SkippedFile) -> None:
        """Leave it out: a file that this Python cannot parse."""

    yield from (document["content"]["Content"] for document in read_distributions())
    for package in PACKAGES:
        yield from (document["content"] for document in read_docstrings(package, skip))


def _edited(document: Document, number: int, chance: random.Random) -> Document:
    paragraphs = document.text.split("\n\n")
    place = chance.randrange(len(paragraphs))
    paragraphs[place] += f" This sentence is edit number {number} of the benchmark."
    return Document(document.id, "\n\n".join(paragraphs))
