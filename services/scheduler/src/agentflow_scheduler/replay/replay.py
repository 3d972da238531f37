"""Replays a recorded log: folds it, and takes each decision again from the facts that it had seen at its time. Pure.

The log holds no hashes of states. The proof that today's engine does what the log says has two parts:

1. Every recorded decision is taken again, with the same fields. The facts are those up to its `seen`, the time is its
   `ts`, results of steps and models come from the log, and nothing is executed.
2. Two folds have the same hash at every sequence: one of the recorded decisions, one of the decisions that were taken
   again. At the end of each turn the state in the machine's memory has this hash, too.

Some of what a scheduler had known is not in the log. The log alone must show it, so a turn is tried in this order:

- as it is, without bounds;
- as by a scheduler that has read the run from the log again: after a restart, or when it took over the shard;
- with room for those steps only that begin in this turn, if the others begin later, or the run did not complete as a
  whole: a pool was full, or its workflow paused;
- after the errors of the engine that follow from the state (runs/faults.py).

A turn may be in the log in part, because its append was interrupted. Then a machine that reads this part decides the
rest again, and the next turn must be what it decides then.
"""

from __future__ import annotations

import copy
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.rpc.scheduler import DIVERGED, ReplayDivergence, ReplayReply
from agentflow_common.runs.state import RunState
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.entities import Entity, begin, decide_entity, folding, host
from agentflow_scheduler.replay import comparison
from agentflow_scheduler.replay.divergence import locate
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_scheduler.runs.decisions import StepTake, unbounded
from agentflow_scheduler.runs.faults import Faults
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run

Log = Sequence[tuple[int, ev.Event]]
Turn = Sequence[tuple[int, ev.Decision]]
CHECKPOINTS: Final = (ev.LaneCheckpointed, ev.ScheduleCheckpointed)
HASHED_MAX: Final = 2_000  # sequences of one log at which states are hashed; a longer log is hashed at equal distances
REHOSTED: Final = (1, 2)  # places in `_attempts`
HELD: Final = 3
BEGINS: Final = (ev.StepScheduled, ev.StepWaiting, ev.StepQueued, ev.StepUndecidable)  # decisions that ask for room
ROUNDS_MAX: Final = 100  # of one turn: values are read, the rest of a long turn is decided


class MissingValueError(InvalidError):
    """A value that is stored out of line is needed and not given."""

    def __init__(self, sha256: str) -> None:
        super().__init__(
            f"a decision needs the value {sha256[:12]}, which is stored outside the log and is not given",
            kind="value_missing",
        )
        self.sha256 = sha256


class _Tried(NamedTuple):
    """What one try of a turn decided."""

    entity: Entity
    decided: list[ev.Decision]
    matched: int  # decisions, from the first on, that are as recorded
    error: str = ""
    needs: tuple[ev.BlobRef, ...] = ()  # values that it asked for in the end

    def fits(self, turn: Turn) -> bool:
        """True if the try gives the turn, or more."""
        return not self.error and self.matched == len(turn)


def replay(key: EntityKey, log: Log, values: Mapping[str, Any], hashed_max: int = HASHED_MAX) -> ReplayReply:
    """Returns how the log of an entity replays. values: those that are stored out of line, by SHA-256.

    Raises InvalidError for a log that has no begin, and MissingValueError.
    """
    return _Replay(key, log, values, hashed_max).run()


class _Replay:
    """One log. `entity` lives through it as in a scheduler; `recorded` and `again` are the two folds."""

    def __init__(self, key: EntityKey, log: Log, values: Mapping[str, Any], hashed_max: int) -> None:
        self.key = key
        self.log = log
        self.values = values
        self.plans = Plans(32)
        self.ended = any(isinstance(event, ev.TERMINAL_RUN) for _, event in log)
        known, self.rest = self._begun()
        self.stride = max(1, -(-len(log) // hashed_max))
        self.recorded, self.again = folding(key), folding(key)
        for seq, event in known:
            self.recorded.add(event, seq)
            self.again.add(event, seq)
        self.entity: Entity | None = self._hosted(known)
        completed = any(isinstance(event, ev.RunCompleted) for _, event in log)
        ends = self.entity.plan.ends if isinstance(self.entity, Run) else ()
        self.all_ran = completed and not ends  # every step that was due was offered at some time
        self.revealed: dict[str, Any] = {}  # values that the scheduler had read for the turn
        self.unfinished: ReplayDivergence | None = None  # the turn before decided more than the log has
        self.held = False  # the log has shown that steps waited
        self.begins_left = Counter(ev.step_of(event) for _, event in self.rest if isinstance(event, BEGINS))
        self.reply = ReplayReply(run=key.name, kind=key.kind, events=len(log))
        self.count: Counter[str] = Counter()
        self.positions = {seq: place for place, (seq, _) in enumerate(log)}
        self.todo = deque(self.rest)  # what the folds have not been given yet

    def _begun(self) -> tuple[Log, Log]:
        """Returns what is known before the first decision, and the rest; of a trimmed log, from a checkpoint on."""
        if not self.log:
            raise InvalidError(f"there is no event of {self.key.name}", kind="empty_history")
        seq, first = self.log[0]
        if not isinstance(first, ev.Decision) and begin(self.key, first, seq) is not None:
            return self.log[:1], self.log[1:]
        marks = [(seq, event.seen) for seq, event in self.log if isinstance(event, CHECKPOINTS)]
        if not marks:
            raise InvalidError(
                f"the log of {self.key.name} does not begin with its first event: it is incomplete", kind="no_begin"
            )
        at, seen = max(marks)
        known = [(s, e) for s, e in self.log if s <= (at if isinstance(e, ev.Decision) else seen)]
        numbers = {s for s, _ in known}
        return known, [item for item in self.log if item[0] not in numbers]

    def _hosted(self, log: Log) -> Entity:
        fold = folding(self.key)
        for seq, event in log:
            fold.add(event, seq)
        state = fold.finish()
        if state is None:
            raise InvalidError(f"the log of {self.key.name} gives no state", kind="no_begin")
        return host(self.key, state, self.plans)

    def _before(self, turn: Turn) -> Entity:
        """Returns the entity as a scheduler has it that reads it from the log just before the turn."""
        first, seen = turn[0][0], turn[0][1].seen
        return self._hosted([(s, e) for s, e in self.log if s < first and (isinstance(e, ev.Decision) or s <= seen)])

    def run(self) -> ReplayReply:
        facts = deque((seq, event) for seq, event in self.rest if not isinstance(event, ev.Decision))
        # when a checkpoint is due follows from the scheduler's memory
        decisions = [(seq, event) for seq, event in self.rest if isinstance(event, ev.Decision)]
        recorded = [(seq, event) for seq, event in decisions if not isinstance(event, CHECKPOINTS)]
        turns = [list(turn) for _, turn in groupby(recorded, key=lambda item: (item[1].seen, item[1].ts))]
        divergence, seen = None, -1
        for number, turn in enumerate(turns):
            if turn[0][1].seen != seen:
                seen, self.revealed = turn[0][1].seen, {}
            while facts and facts[0][0] <= seen:
                seq, fact = facts.popleft()
                if self.entity is not None:
                    self.entity.apply(fact, seq)
            following = turns[number + 1] if number + 1 < len(turns) else None
            unfinished, self.unfinished = self.unfinished, None
            divergence = self._turn(turn, following)
            if divergence is not None:
                divergence = unfinished or divergence  # it was not an interrupted append
                break
            self.count["turns"] += 1
            self.count["decisions"] += len(turn)
        return self._report(divergence)

    def _report(self, divergence: ReplayDivergence | None) -> ReplayReply:
        for seq, event in self.todo if divergence is None else ():
            self.recorded.add(event, seq)
        state = self.recorded.finish() if divergence is None else self.recorded.state
        is_run = isinstance(state, RunState)
        name = state.workflow if is_run else getattr(state, "lane", "") or getattr(state, "name", "")
        return msgspec.structs.replace(
            self.reply,
            workflow=name,
            status=str(state.status) if is_run else "",
            verdict=self.reply.verdict if divergence is None else DIVERGED,
            decisions=self.count["decisions"],
            turns=self.count["turns"],
            hashed=self.count["hashed"],
            held_turns=self.count["held"],
            rehosted=self.count["rehosted"],
            partial_turns=self.count["partial"],
            state_hash=state_hash(state),
            divergence=divergence,
        )

    # --- one turn ---

    def _turn(self, turn: Turn, following: Turn | None) -> ReplayDivergence | None:
        """Takes the decisions of a turn again. Returns where they diverge, or None."""
        self.begins_left -= Counter(ev.step_of(event) for _, event in turn if isinstance(event, BEGINS))
        tries: list[tuple[int, _Tried]] = []
        for number, attempt in enumerate(self._attempts(turn)):
            tried = attempt()
            if tried is None:
                continue
            tries.append((number, tried))
            if tried.fits(turn) and len(tried.decided) == len(turn):
                break
        else:
            interrupted = [item for item in tries if self._is_interrupted(item[1], turn, following)]
            if not interrupted:  # of those that came as far, the first
                return self._divergence(max((tried for _, tried in tries), key=lambda tried: tried.matched), turn)
            number, tried = interrupted[0]
            self.count["partial"] += 1
            self.unfinished = self._divergence(tried, turn)  # unless the next turn has the rest
        self.count["rehosted"] += number in REHOSTED
        self.count["held"] += number == HELD
        self.held = self.held or number == HELD
        return self._accept(tried, turn)

    def _is_interrupted(self, tried: _Tried, turn: Turn, following: Turn | None) -> bool:
        """True if the log may have only a part of what the try decided: who reads that part decides the rest again."""
        if not tried.fits(turn) or (following is None and self.ended):
            return False
        left = tried.decided[len(turn)]
        last, recorded = turn[-1]
        entity = self._hosted(
            [(s, e) for s, e in self.log if s <= (last if isinstance(e, ev.Decision) else recorded.seen)]
        )
        out = decide_entity(self.key, entity, recorded.ts, self.values, unbounded)
        return any(type(one) is type(left) and ev.step_of(one) == ev.step_of(left) for one in out.decisions)

    def _attempts(self, turn: Turn) -> list[Callable[[], _Tried | None]]:
        known, self.entity = self.entity, None  # a try changes it
        as_it_is = self._offers(turn) if self.held else unbounded
        return [
            lambda: None if known is None else self._try(known, turn, as_it_is),
            lambda: self._try(self._before(turn), turn, unbounded),
            lambda: self._try(self._before(turn), turn, unbounded, forget=True) if self.revealed else None,
            lambda: self._try(self._before(turn), turn, self._offers(turn)),
            lambda: self._after_faults(turn),
        ]

    def _offers(self, turn: Turn) -> StepTake:
        """Returns what there was room for, as the log shows it: a step that begins in a later turn had to wait."""
        begun = {ev.step_of(event) for _, event in turn if isinstance(event, BEGINS)}
        # if every step that was due has begun at some time, one that never begins is a divergence
        return StepTake(lambda step: step in begun or (self.all_ran and not self.begins_left[step]))

    def _try(self, entity: Entity, turn: Turn, take: Callable[[str], bool], forget: bool = False) -> _Tried:
        if forget:  # the values of the turn before
            self.revealed = {}
        decided: list[ev.Decision] = []
        error = ""
        needs: tuple[ev.BlobRef, ...] = ()
        try:
            for _ in range(ROUNDS_MAX):
                out = decide_entity(self.key, entity, turn[0][1].ts, self.revealed, take)
                decided += [decision for decision in out.decisions if not isinstance(decision, CHECKPOINTS)]
                needs = tuple(out.needs)
                if len(decided) >= len(turn) or not (self._reveal(out.needs) or (out.more and out.decisions)):
                    break
        except InvalidError:
            raise
        except Exception as fault:  # the machine's own: it is what a replay is to find
            error = f"{type(fault).__name__}: {fault}"
        matched = 0
        for place, (_, recorded) in zip(range(len(decided)), turn, strict=False):
            decided[place] = comparison.with_chain_of(decided[place], recorded)
            if not comparison.same(decided[place], recorded):
                break
            matched += 1
        return _Tried(entity, decided, matched, error, needs)

    def _reveal(self, needs: Sequence[ev.BlobRef]) -> bool:
        """Reads the values that a turn asked for, as the scheduler did. Returns False if nothing is new."""
        new = [ref.sha256 for ref in needs if ref.sha256 not in self.revealed]
        for sha in new:
            if sha not in self.values:
                raise MissingValueError(sha)
            self.revealed[sha] = self.values[sha]
        return bool(new)

    def _after_faults(self, turn: Turn) -> _Tried | None:
        """Decides as a scheduler that met errors of the engine. Returns None if there are none."""
        faults = Faults()
        error: Exception | None = None
        while True:
            entity = self._before(turn)
            if not isinstance(entity, Run):
                return None
            if error is not None:
                if not faults.meet(error):
                    return None
                faults.mark(entity)
            try:
                decide_entity(self.key, entity, turn[0][1].ts, self.revealed, unbounded)
            except Exception as following:
                error = following
                continue
            if error is None:
                return None
            entity = self._before(turn)
            assert isinstance(entity, Run)  # noqa: S101
            faults.mark(entity)
            return self._try(entity, turn, unbounded)

    def _accept(self, tried: _Tried, turn: Turn) -> ReplayDivergence | None:
        """Folds the turn both ways and compares the states."""
        exact = len(tried.decided) == len(turn)
        hashed = False
        for (seq, recorded), decided in zip(turn, tried.decided, strict=False):
            equal = comparison.equal(decided, recorded)
            exact = exact and equal
            self._feed_facts(seq)
            self.recorded.add(recorded, seq)
            self.again.add(decided if equal else recorded, seq)
            self.todo.popleft()
            if self._is_hashed(seq):
                hashed = True
                if state_hash(self.recorded.state) != state_hash(self.again.state):
                    return self._state_divergence(turn, seq)
        self.revealed |= {ref.sha256: self.values[ref.sha256] for ref in tried.needs if ref.sha256 in self.values}
        last = turn[-1][0]
        if exact:
            self.entity = tried.entity
            self.entity.state.out_seq = last
            # when a checkpoint of a lane or a schedule is due is no part of the log, and its state counts them
            if hashed and self.key.kind == "run" and state_hash(self.entity.state) != state_hash(self.recorded.state):
                return self._state_divergence(turn, last)
        else:  # values are by reference in the log, or a part of the turn is not in it
            self.entity = host(self.key, copy.deepcopy(self.recorded.state), self.plans)
        return None

    def _is_hashed(self, seq: int) -> bool:
        place = self.positions[seq]
        chosen = place % self.stride == 0 or place == len(self.log) - 1
        self.count["hashed"] += chosen
        return chosen

    def _feed_facts(self, seq: int) -> None:
        """Gives both folds the facts before this sequence; they hold them back until a decision had seen them."""
        while self.todo[0][0] < seq:
            number, fact = self.todo.popleft()
            self.recorded.add(fact, number)
            self.again.add(fact, number)

    # --- divergences ---

    def _divergence(self, tried: _Tried, turn: Turn) -> ReplayDivergence:
        place = tried.matched
        seq, expected = turn[place] if place < len(turn) else (turn[-1][0], None)
        decided = tried.decided[place] if place < len(tried.decided) else None
        return locate(self._before(turn), turn[0][1], seq, expected, decided, tried.error)

    def _state_divergence(self, turn: Turn, seq: int) -> ReplayDivergence:
        recorded = next(event for number, event in turn if number == seq)
        return locate(self._before(turn), turn[0][1], seq, recorded, recorded, "")
