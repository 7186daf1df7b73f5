"""The systems: how each is started, and where its points keep the document and the text."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Payload = dict[str, Any]
OURS = "ours"
OURS_LOG = "ours, change log"
PLAIN = "plain script"
COCOINDEX = "CocoIndex"
HAYSTACK = "Haystack"


@dataclass(frozen=True)
class System:
    """``place`` finds document and text in the payload of a point.

    ``ours`` reads a warehouse, others lines of JSON; one that ``follows_log`` reads what is served all the time.
    """

    name: str
    module: str
    place: Callable[[Payload], tuple[str, str]]
    arguments: tuple[str, ...] = ()
    ours: bool = False
    follows_log: bool = False
    embeds_everything: bool = False

    def command(self, peers_python: Path) -> list[str]:
        """Return the start of its command line."""
        python = sys.executable if self.ours else str(peers_python)
        return [python, "-m", f"benchmarks.peers.{self.module}", *self.arguments]

    @property
    def slug(self) -> str:
        return self.name.replace(",", "").replace(" ", "-")


def _llamaindex(payload: Payload) -> tuple[str, str]:
    return payload["doc_id"], json.loads(payload["_node_content"])["text"]


SYSTEMS = {
    system.name: system
    for system in (
        System(OURS, "ours", lambda payload: (payload["source_id"], payload["text"]), ("hash",), ours=True),
        System(
            OURS_LOG,
            "ours",
            lambda payload: (payload["source_id"], payload["text"]),
            ("log",),
            ours=True,
            follows_log=True,
        ),
        System(PLAIN, "plain", lambda payload: (payload["document"], payload["text"]), embeds_everything=True),
        System("LangChain", "with_langchain", lambda payload: (payload["metadata"]["source"], payload["page_content"])),
        System("LlamaIndex", "with_llamaindex", _llamaindex),
        System(HAYSTACK, "with_haystack", lambda payload: (payload["meta"]["source_id"], payload["content"])),
        System(COCOINDEX, "with_cocoindex", lambda payload: (payload["document"], payload["text"])),
    )
}
