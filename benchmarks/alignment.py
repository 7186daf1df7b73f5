"""Where the characters of a cleaned text are in the text that it was made of."""

from collections.abc import Sequence
from dataclasses import dataclass

_AGREEMENT = 16  # characters in a row that must agree again after a difference
_REACH = 400  # characters, of both texts together, that a difference may be long


@dataclass(frozen=True)
class Alignment:
    """``before`` counts the characters of the cleaned text before each place that are not white space.

    ``places`` are those of these characters in the raw text; ``share`` of them are the same there.
    """

    before: Sequence[int]
    places: Sequence[int]
    share: float

    def to_raw(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the raw text for one of the cleaned text; white space at its ends is left out."""
        first, after = self.before[start], self.before[end]
        if first >= after:
            raise ValueError(f"the span {start} to {end} has no character")
        return self.places[first], self.places[after - 1] + 1


def align(raw: str, cleaned: str) -> Alignment:
    """Return where the characters of a cleaned text come from; white space does not count.

    Cleaning keeps the order of a text and changes it here and there: after a difference, the nearest place is taken
    from which both agree again.

    Raises:
        ValueError: if there is none.
    """
    before = [0]
    for character in cleaned:
        before.append(before[-1] + (not character.isspace()))
    raw_places = [place for place, character in enumerate(raw) if not character.isspace()]
    ones = "".join(raw[place] for place in raw_places)
    others = "".join(cleaned.split())
    places: list[int] = []
    same = one = other = 0
    while other < len(others):
        if one < len(ones) and ones[one] == others[other]:
            places.append(raw_places[one])
            same, one, other = same + 1, one + 1, other + 1
            continue
        skipped, replaced = _difference(ones, one, others, other)
        last = len(raw_places) - 1
        places += [raw_places[min(one + min(step, max(skipped - 1, 0)), last)] for step in range(replaced)]
        one, other = one + skipped, other + replaced
    return Alignment(before, places, same / max(len(others), 1))


def _difference(ones: str, one: int, others: str, other: int) -> tuple[int, int]:
    """Return how many characters of each text are different from these places on."""
    for length in range(1, _REACH):
        for skipped in range(length + 1):
            replaced = length - skipped
            following = ones[one + skipped : one + skipped + _AGREEMENT]
            if following == others[other + replaced : other + replaced + _AGREEMENT]:
                return skipped, replaced
    raise ValueError(f"the texts differ from {ones[one : one + 40]!r} and {others[other : other + 40]!r} on")
