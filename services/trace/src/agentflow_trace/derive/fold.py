"""Folds rows of `events` into rows of the derived tables: a batch at a time, with the runs that are in hand. Pure.

The runs in hand are bounded. One that is not in hand any more is read back from `events` before its next rows are
taken.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from agentflow_common import subjects
from agentflow_trace import machine
from agentflow_trace.derive import spending
from agentflow_trace.derive.run import SUBMITTED, RunFold
from agentflow_trace.derive.tables import CallRow, CostRow, Derived, RunRow, StepRow
from agentflow_trace.rows import Row, parts

WEIGHT_MAX: Final = 100_000  # attempts in hand; about 60 MB
_SORTED_IDS: Final = "run_0"  # how the id of a run begins that can't be submitted twice (ids.new_run_id)

Key = tuple[str, str]  # org, run


def concerns(row: Row) -> bool:
    """True for the events of runs, which the derived tables are made of."""
    return (
        row.stream == subjects.EVENTS_STREAM
        and row.type not in machine.APART
        and row.run != ""
        and subjects.kind_of(row.run) == "run"
    )


class Folder:
    """The runs in hand.

    calls_to, costs_to: the sequences up to which `llm_calls` and `costs` have everything. weight_max: how many attempts
    are in hand.
    """

    def __init__(self, weight_max: int = WEIGHT_MAX) -> None:
        self.calls_to = 0
        self.costs_to = 0
        self._weight = 0
        self._runs: OrderedDict[Key, RunFold] = OrderedDict()
        self.weight_max = weight_max
        self._changed: dict[Key, RunFold] = {}
        self._calls: list[CallRow] = []
        self._costs: list[CostRow] = []

    def missing(self, batch: Sequence[Row]) -> list[Key]:
        """Returns the runs that must be given by `put` before the batch is taken."""
        found: dict[Key, bool] = {}
        for row in batch:
            key = (row.org, row.run)
            if key not in found and concerns(row):
                found[key] = key in self._runs or row.type == SUBMITTED
        return [key for key, known in found.items() if not known]

    @staticmethod
    def again(batch: Iterable[Row]) -> list[Row]:
        """Returns the submissions of runs that may have been submitted before under the same id."""
        return [row for row in batch if row.type == SUBMITTED and not row.run.startswith(_SORTED_IDS) and concerns(row)]

    def run(self, key: Key) -> RunFold:
        """Returns a run in hand, or an empty one."""
        return self._runs.get(key) or RunFold(*key)

    def put(self, run: RunFold) -> None:
        """Takes a run in hand, with what was written of it before."""
        run.written()
        run.weighed = 0
        self._runs[run.org, run.run] = run
        self._weigh(run)

    def take(self, batch: Sequence[Row]) -> None:
        """Takes rows in the order of the log. All rows of a message are in one batch."""
        for part, row in parts(batch):
            key = (row.org, row.run)
            run = self._runs.get(key)
            if run is None or row.type == SUBMITTED:
                if not concerns(row):
                    continue
                run = self._new(key, run)
            elif row.type in machine.APART:
                continue
            self._runs.move_to_end(key)
            run.take(row)
            self._changed[key] = run
            if row.type in spending.REPORTS:
                self._spend(row, part, run)

    def _new(self, key: Key, before: RunFold | None) -> RunFold:
        run = self._runs[key] = RunFold(*key)
        run.weighed = before.weighed if before else 0
        return run

    def _spend(self, row: Row, part: int, run: RunFold) -> None:
        if row.stream_seq > self.costs_to:
            cost = spending.cost(row, part, run)
            if cost is not None:
                self._costs.append(cost)
        if row.stream_seq > self.calls_to:
            self._calls += spending.calls(row, part, run)

    @property
    def pending(self) -> int:
        """About how many rows `flush` would return."""
        return sum(len(run.changed) + 1 for run in self._changed.values()) + len(self._calls) + len(self._costs)

    def flush(self) -> Derived:
        """Returns what is to be written, and lets go of the runs that were not needed for longest.

        The rows of `llm_calls` and `costs` are in the order in which they were taken.
        """
        runs: list[RunRow] = []
        steps: list[StepRow] = []
        for run in self._changed.values():
            row, changed = run.rows()
            self._weigh(run)
            if row is not None:
                runs.append(row)
                steps += changed
        derived = Derived(runs, steps, self._calls, self._costs)
        self._changed, self._calls, self._costs = {}, [], []
        self._let_go()
        return derived

    def _weigh(self, run: RunFold) -> None:
        weight = run.weight
        self._weight += weight - run.weighed
        run.weighed = weight

    def _let_go(self) -> None:
        while self._weight > self.weight_max and len(self._runs) > 1:
            _, run = self._runs.popitem(last=False)
            self._weight -= run.weighed

    def clear(self) -> None:
        self._runs.clear()
        self._weight = 0
        self._changed, self._calls, self._costs = {}, [], []


def fold(found: Sequence[Row]) -> Derived:
    """Returns the derived rows of some runs, given all of their rows: what the tables must have, whatever happened."""
    folder = Folder()
    folder.take(found)
    return folder.flush()
