"""The log of one run, read from its rows: what it says in order, the state that it gives, and its ledgers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.dependencies import waits_for
from agentflow_common.definition.model import load_trusted
from agentflow_common.errors import AgentFlowError
from agentflow_common.rpc.traces.explain import Evidence
from agentflow_common.runs.fold import RunFold, readable
from agentflow_common.runs.state import RunState, StepState, node_of
from agentflow_trace.explain.wording import about
from agentflow_trace.rows import REMOVED, SCHEDULE, UNDECODABLE, Row

E = TypeVar("E", bound=ev.Event)
_APART: Final = frozenset({SCHEDULE, UNDECODABLE, REMOVED})


class Entry(NamedTuple):
    """An event of the run, or a step's report of several in an event."""

    seq: int
    event: Any

    @property
    def ts(self) -> int:
        ts: int = self.event.ts
        return ts


class RunLog:
    """The log of one run. The fold of the run gives its state, as everywhere."""

    def __init__(self, run: str, rows: Iterable[Row]) -> None:
        self.run = run
        self.rows = list(rows)
        self.entries: list[Entry] = []
        self.ledgers: list[Row] = []  # of costs and of security decisions
        self._by_step: dict[str, list[Entry]] = {}
        fold = RunFold()
        for row in self.rows:
            if row.stream != subjects.EVENTS_STREAM:
                self.ledgers.append(row)
                continue
            if row.later or row.type in _APART:
                continue
            event = readable(row.subject, row.body.encode())
            if event is not None:
                fold.add(event, row.stream_seq)
                for one in event.reports() if isinstance(event, ev.StepCompleted) else (event,):
                    self._add(Entry(row.stream_seq, one))
        self.state: RunState | None = fold.finish()

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        step = getattr(entry.event, "step", "")
        if step and not isinstance(entry.event, ev.RunFailed | ev.RunCompensating | ev.RunFinishing):
            self._by_step.setdefault(step, []).append(entry)

    # --- events ---

    def of_step(self, key: str) -> list[Entry]:
        """Returns what the log says about a step, in order."""
        return self._by_step.get(key, [])

    def all_of(self, kind: type[E]) -> Iterator[tuple[Entry, E]]:
        for entry in self.entries:
            if isinstance(entry.event, kind):
                yield entry, entry.event

    def last(self, kind: type[E]) -> tuple[Entry, E] | None:
        return next(((e, e.event) for e in reversed(self.entries) if isinstance(e.event, kind)), None)

    def last_of_step(self, key: str, *kinds: type[ev.Event], attempt: int | None = None) -> Entry | None:
        """Returns the newest event of these types about a step, and about one attempt of it."""
        entry: Entry
        for entry in reversed(self.of_step(key)):
            if isinstance(entry.event, kinds) and attempt in {None, getattr(entry.event, "attempt", None)}:
                return entry
        return None

    def evidence(self, *entries: Entry | None) -> tuple[Evidence, ...]:
        """Returns events as evidence, in the order of the log."""
        found = {id(entry.event): entry for entry in entries if entry is not None}
        return tuple(
            Evidence(
                stream=subjects.EVENTS_STREAM,
                seq=entry.seq,
                ts=entry.ts,
                type=ev.event_type(type(entry.event)),
                run=self.run,
                step=getattr(entry.event, "step", ""),
                attempt=getattr(entry.event, "attempt", 0),
                text=about(entry.event),
            )
            for entry in sorted(found.values(), key=lambda entry: (entry.seq, entry.ts))
        )

    def ledger_evidence(self, rows: Iterable[Row], texts: Mapping[int, str]) -> tuple[Evidence, ...]:
        """Returns rows of the ledgers as evidence. texts: by sequence."""
        return tuple(
            Evidence(
                stream=row.stream,
                seq=row.stream_seq,
                ts=row.ts,
                type=row.type,
                run=self.run,
                step=row.step,
                attempt=row.attempt,
                text=texts.get(row.stream_seq, ""),
            )
            for row in rows
        )

    # --- the definition ---

    @cached_property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """Returns the nodes of the pinned definition by id, as JSON."""
        definition = {} if self.state is None else self.state.definition
        nodes = (definition.get("dag") or {}).get("nodes") or ()
        return {str(node.get("id", "")): node for node in nodes if isinstance(node, dict)}

    @cached_property
    def waits_for(self) -> dict[str, list[str]]:
        """Returns by node the nodes that it waits for; empty if the definition can't be read."""
        try:
            return waits_for(load_trusted(self.state.definition)) if self.state is not None else {}
        except (AgentFlowError, ValueError, TypeError, KeyError):
            return {}

    def step(self, key: str) -> StepState:
        """Returns the state of a step; that of one that has not begun if the log does not name it."""
        found = None if self.state is None else self.state.steps.get(key)
        return found if found is not None else StepState()

    def node(self, key: str) -> dict[str, Any]:
        return self.nodes.get(node_of(key), {})

    def policy(self, key: str) -> dict[str, Any]:
        return self.node(key).get("policy") or {}


class Logs:
    """The logs of a tree of runs. A run that is asked for and is not there is noted, so that it can be read."""

    def __init__(self) -> None:
        self._known: dict[str, RunLog] = {}
        self.missing: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._known)

    def put(self, log: RunLog) -> None:
        self._known[log.run] = log
        self.missing.pop(log.run, None)

    def get(self, run: str) -> RunLog | None:
        """Returns the log of a run; None if it has none, or is not read yet."""
        found = self._known.get(run)
        if found is None and run:
            self.missing[run] = None
        return found if found is not None and found.state is not None else None
