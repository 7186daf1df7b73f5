"""Quality filters: what a document must fulfil by itself to be in a training set."""

from dataclasses import dataclass

from feature_store.training import FilterConfig
from steps.export.contamination import EvaluationTexts

TOO_SHORT = "too_short"
TOO_LONG = "too_long"
LANGUAGE = "language"
DUPLICATE_LINES = "duplicate_lines"
CONTAMINATED = "contaminated"


@dataclass(frozen=True)
class Filters:
    """The configured filters, ready to be used."""

    config: FilterConfig
    evaluation: EvaluationTexts

    def reason_against(self, text: str, language: str | None) -> str | None:
        """Return the first reason that keeps a document out; None for a good one."""
        config = self.config
        if len(text) < config.min_characters:
            return TOO_SHORT
        if config.max_characters is not None and len(text) > config.max_characters:
            return TOO_LONG
        if config.languages is not None and language not in config.languages:
            return LANGUAGE
        if config.max_duplicate_lines is not None and share_of_duplicate_lines(text) > config.max_duplicate_lines:
            return DUPLICATE_LINES
        return CONTAMINATED if self.evaluation.overlap(text) else None


def share_of_duplicate_lines(text: str) -> float:
    """Return the share of the lines that repeat an earlier one; blank lines do not count."""
    lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0
