"""Whether a tokenizer reads word by word."""

import json
from pathlib import Path


def separates_words(folder: Path) -> bool:
    """Return whether blanks and line ends separate tokens: those on one side never depend on what is on the other.

    So it is where BERT's pre-tokenizer cuts at white space before the model sees anything, behind its own normalizer,
    which looks at single characters. In doubt the answer is no.
    """
    file = json.loads((folder / "tokenizer.json").read_bytes())
    kinds = [(file.get(name) or {}).get("type") for name in ("normalizer", "pre_tokenizer")]
    return kinds == ["BertNormalizer", "BertPreTokenizer"] and not any(
        token["lstrip"] or token["rstrip"] or token["single_word"] or any(sign.isspace() for sign in token["content"])
        for token in file.get("added_tokens", [])
    )
