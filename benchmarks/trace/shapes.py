"""Logs of many runs with the shapes of real ones: a whole stack runs examples, and copies of their events differ.

A copy has another run id, organisation, time, model and cost, and other words in its texts. What stays is the order of
the events, their fields and their sizes. Words are as frequent as in a language, so that texts compress as texts do.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import yaml

from agentctl.stack import control
from agentctl.stack.layout import Options
from agentflow_common import subjects
from agentflow_common.connections.nats_client import connect
from agentflow_common.log.event_log import EventLog
from agentflow_sdk import AsyncClient
from benchmarks.stack import HERE, chain, fanout

EXAMPLES: Final = HERE.parent / "examples"
INPUTS: Final[dict[str, dict[str, Any]]] = {
    "conditional": {"content": "harbour.jpg: photograph of three boats at dusk"},
    "translation": {"text": "Thank you for your message."},
    "saga": {"traveller": "ann", "budget": 1000},
    "hierarchical_summary": {"document_key": "examples/data/vendor_review.md"},
}
ORGS: Final = ("acme", "beta", "gamma", "delta")
MODELS: Final = (
    ("openai", "gpt-large"), ("openai", "gpt-small"), ("anthropic", "claude-large"), ("google", "gemini-fast"),
    ("local", "extractive-1"),
)  # fmt: skip
TEXT_MIN: Final = 40  # characters; a shorter value is a name, and stays
LETTERS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # of ids
RARE: Final = 100_000  # every so many runs an output holds the word that the text search looks for
DAYS: Final = 14
_TIMES: Final = frozenset({"ts", "started_at", "submitted_at"})
_KEPT: Final = frozenset({"definition", "error"})  # equal in runs of one workflow


class Made(NamedTuple):
    """A message to append."""

    subject: str
    data: bytes
    ts: int


class Shape(NamedTuple):
    """The events of one run in the order of the log, as JSON types."""

    run: str
    lines: tuple[tuple[str, dict[str, Any]], ...]  # the subject after the run, the event
    places: Mapping[int, int]  # sequence -> place, for `seen`
    began: int


async def record(folder: Path) -> list[Shape]:
    """Runs the examples, a chain and a fan-out on a whole stack, and returns their events."""
    options = Options(
        data_dir=folder / "stack", load=[str(HERE / "steps.py")], file_roots=[str(EXAMPLES.parent)],
    )  # fmt: skip
    info = await asyncio.to_thread(control.start, options)
    try:
        token = Path(info.dev_key_file).read_text().strip()
        runs = []
        async with AsyncClient(info.grpc, token=token) as client:
            flows = [(yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()), given) for name, given in INPUTS.items()]
            for definition, given in [*flows, (chain(10), {}), (fanout(50), {})]:
                await client.workflows.register(definition)
                submitted = await client.workflows.submit(str(definition["name"]), given)
                await client.workflows.wait(submitted)
                runs.append(submitted.run_id)
        nc = await connect(info.nats, "benchmark")
        try:
            log = EventLog(nc)
            await log.start()
            return [await _shape(log, run) for run in runs]
        finally:
            await nc.close()
    finally:
        await asyncio.to_thread(control.down, options.data_dir)


async def _shape(log: EventLog, run: str) -> Shape:
    found = await log.read(subjects.run_all(subjects.key_of("default", run)))
    lines = tuple((".".join(one.subject.split(".")[5:]), msgspec.json.decode(one.data)) for one in found)
    return Shape(
        run, lines, {one.seq: place for place, one in enumerate(found)}, min(event["ts"] for _, event in lines)
    )


def shapes() -> list[Shape]:
    """Records in a folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="agentflow-bench-") as folder:
        return asyncio.run(record(Path(folder)))


class Copies:
    """Makes copies of runs, the same ones for the same seed."""

    def __init__(self, shapes: Sequence[Shape], seed: int, first_ms: int, runs_per_day: int) -> None:
        self._shapes = shapes
        self._random = random.Random(seed)
        self._words = self._vocabulary()
        self._texts: dict[str, str] = {}  # of this run: what one step gives, the next one takes
        self._first_ms = first_ms
        self._gap_ms = 86_400_000 / runs_per_day
        self.runs: list[tuple[str, str]] = []  # (org, run)

    def _vocabulary(self) -> list[str]:
        chance = self._random
        distinct = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(8_000)]
        weights = [1 / (rank + 3) for rank in range(len(distinct))]  # Zipf's law
        return chance.choices(distinct, weights, k=100_000)

    def run(self, after_seq: int) -> list[Made]:
        """Returns the messages of another run, to be appended behind the sequence `after_seq`."""
        chance = self._random
        shape = self._shapes[len(self.runs) % len(self._shapes)]
        run = "run_" + "".join(chance.choices(LETTERS, k=26))
        org = ORGS[min(3, int(chance.expovariate(1.2)))]
        self.runs.append((org, run))
        trace = f"00-{chance.randbytes(16).hex()}-{chance.randbytes(8).hex()}-01"
        shift = int(self._first_ms + len(self.runs) * self._gap_ms) - shape.began
        prefix = subjects.prefix(subjects.key_of(org, run))
        rare = "zirconium" if len(self.runs) % RARE == 7 else ""
        self._texts.clear()
        made = []
        for suffix, event in shape.lines:
            body = {name: value if name in _KEPT else self._vary(value) for name, value in event.items()}
            body |= {"org": org, "run": run, "trace": trace}
            for name in _TIMES & body.keys():
                body[name] += shift
            if "seen" in body:
                body["seen"] = after_seq + 1 + shape.places.get(body["seen"], 0)
            if usage := body.get("llm"):
                self._spend(usage)
            if rare and body["type"] == "step.completed":
                body["output"], rare = {"value": f"an alloy of {rare} and tin"}, ""
            made.append(Made(f"{prefix}.{suffix}", msgspec.json.encode(body), body["ts"]))
        return made

    def _spend(self, usage: dict[str, Any]) -> None:
        chance = self._random
        usage["provider"], usage["model"] = chance.choice(MODELS)
        usage["input_tokens"], usage["output_tokens"] = chance.randint(50, 4_000), chance.randint(10, 900)
        usage["cost_nano"] = usage["input_tokens"] * 150 + usage["output_tokens"] * 600

    def _vary(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._vary(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._vary(one) for one in value]
        if isinstance(value, float):
            return round(value * self._random.uniform(0.5, 3.0), 3)
        if isinstance(value, str) and len(value) >= TEXT_MIN and " " in value:
            if value not in self._texts:
                self._texts[value] = self._text(value)
            return self._texts[value]
        return value

    def _text(self, like: str) -> str:
        begin = self._random.randrange(len(self._words) - 1_000)
        words = self._words[begin : begin + min(1_000, like.count(" ") + 1)]
        self._random.shuffle(words)
        return " ".join(words)[: len(like)]


def messages(copies: Copies, count: int, after_seq: int = 0) -> Iterator[Made]:
    """Yields whole runs, at least `count` messages."""
    made = 0
    while made < count:
        found = copies.run(after_seq + made)
        made += len(found)
        yield from found
