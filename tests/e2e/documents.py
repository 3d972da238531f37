"""The examples of the documents, and what they need to be run to their end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import ROOT

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "services/*/README.md", "sdk/python/README.md", "cli/README.md",
                    "examples/README.md", "deploy/README.md", "benchmarks/README.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)  # fmt: skip
RUN = ("yaml", "sh", "python", "js")
SHOWN = ("mermaid", "text", "json", "sql", "promql", "proto")  # pictures, output, data
_BLOCK = re.compile(
    r"(?:<!-- (?:not run: (?P<reason>[^\n]+?)|exit code (?P<code>\d+)) -->\n\n?)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.M | re.S,
)
TUTORIAL = ROOT / "docs/tutorial.md"  # has a stack of its own: `test_tutorial_e2e.py`
_NAMED = re.compile(r"# ([\w./-]+\.(?:ya?ml|py))\n")
# `make` would install again what runs the test
STAND_INS = {"make run DOC=": "agentctl demo --doc ", "make run": "agentctl demo"}

PAGES = [{"text": "Three boats came in."}, {"text": "Two of them carried grain. One did not."}]
# What a run needs beyond its defaults, by the workflow's name.
INPUTS: dict[str, dict[str, Any]] = {
    "greeting": {"name": "Ann"},
    "agent": {"question": "How many boats came in?"},
    "all_customers": {"customers": ["ann", "bob"], "round": 999, "pause": "10ms"},
    "all_reports": {"customers": ["ann", "bob"]},
    "analyse_all": {"pages": PAGES},
    "answer": {"question": "How many boats came in?"},
    "ask_supplier": {"article": "rope"},
    "import_orders": {"text": "three boats came in"},
    "book_trip": {"trip": {"to": "Lisbon"}},
    "code_review": {"path": "examples/data/orders.py"},
    "conditional": {"content": "harbour.jpg: photograph of three boats at dusk"},
    "content_moderation": {"key": "insult.txt"},
    "cost_optimised": {"document_key": "examples/data/vendor_review.md"},
    "document_analysis": {"document_key": "examples/data/vendor_review.md"},
    "digest": {"text": "Three boats came in before noon.\n\n" * 30},
    "hierarchical_summary": {"document_key": "examples/data/vendor_review.md"},
    "long_answer": {"document": "examples/data/vendor_review.md"},
    "invite": {"email": "@".join(("ann", "example.org")), "code": "AB1234"},
    "map_reduce": {"document_key": "examples/data/vendor_review.pdf"},
    "new_order": {"order": {"customer": "ann"}},
    "nightly_digest": {"document_key": "examples/data/vendor_review.md", "day": "2030-12-24"},
    "order_and_ask": {"customer": "ann"},
    "order": {"email": "@".join(("ann", "example.org")), "article": "rope"},
    "pay_invoice": {"amount": 40, "cool_off": "10ms"},
    "per_customer": {"customer": "ann"},
    "monthly_report": {"customer": "ann"},
    "transfer": {"account": "ann"},
    "read_document": {"document_key": "examples/data/vendor_review.md"},
    "read_letter": {"path": "examples/data/vendor_review.md"},
    "refine": {"draft": "Three boats came in before noon, and two of them carried grain."},
    "report": {"document": "examples/data/vendor_review.md"},
    "research": {"question": "Which boats came in?"},
    "read_books": {"books": [{"title": "Boats", "chapters": ["Three came in.", ""]}, {"title": "Sea", "chapters": []}]},
    "saga": {"traveller": "ann", "budget": 1100},
    "quote": {"text": "Three boats came in."},
    "word_counts": {"chapters": {"one": "Three boats came in.", "two": "No"}},
    "translation": {"text": "Thank you for your message."},
    "two_person_approval": {"payee": "printer", "amount": 4200},
}
# Workflows that a document takes for granted: registered first, with the label `prod`.
GIVEN = """
name: one_customer
inputs:
  customer: {type: string}
dag:
  nodes:
    - {id: greet, type: function, config: {function_name: text_stats, inputs: {text: "{{customer}}"}}}
"""


@dataclass(frozen=True)
class Block:
    """An example of a document."""

    place: str  # `README.md:12`
    language: str
    text: str
    reason: str  # why it is not run; empty if it is
    code: int = 0  # the exit code that a shell block ends with

    @property
    def file(self) -> str:
        """The name that the first line gives it: `# orders.py`."""
        match = _NAMED.match(self.text)
        return match[1] if match else ""

    @property
    def loads(self) -> bool:
        """True for a module of tools and functions, which a worker loads."""
        return self.language == "python" and "agentflow_worker.registry import" in self.text


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    name = path.relative_to(ROOT)
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("text"))
        found.append(
            Block(f"{name}:{line}", match["language"], match["text"], match["reason"] or "", int(match["code"] or 0))
        )
    return found


def all_blocks() -> list[Block]:
    return [block for path in DOCUMENTS for block in blocks(path)]


def shell(text: str) -> str:
    for command, other in STAND_INS.items():
        text = text.replace(command, other)
    return text


def is_workflow(text: str) -> bool:
    data = yaml.safe_load(text)
    return isinstance(data, dict) and ("dag" in data or "nodes" in data)


def is_schedule(text: str) -> bool:
    data = yaml.safe_load(text)
    return isinstance(data, dict) and "workflow" in data and not is_workflow(text)


def nodes(text: str) -> list[dict[str, Any]]:
    data = yaml.safe_load(text)
    found: list[dict[str, Any]] = (data.get("dag") or data)["nodes"]
    return found


def asks(text: str) -> bool:
    """True if a definition waits for people."""
    return any(node.get("type") == "approval" for node in nodes(text))
