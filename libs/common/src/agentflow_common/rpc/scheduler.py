"""Questions to the scheduler: the replay of a recorded log."""

from __future__ import annotations

from agentflow_common.rpc.verbs import Message, Verb

SAME = "same"
DIVERGED = "diverged"


class ReplayRequest(Message, frozen=True):
    """Asks for the replay of the log of a run, a keyed lane or a schedule."""

    org: str
    run: str  # the id of the run, or of the lane or the schedule with its prefix
    history: bool = False  # also answer with the log


class ReplayDifference(Message, frozen=True):
    """A field that differs. The values are JSON texts; empty: there is no such field."""

    path: str
    expected: str = ""
    decided: str = ""


class ReplayDivergence(Message, frozen=True):
    """The first decision that is not taken again as it is in the log."""

    seq: int  # of the expected event; of a decision that is too many, the sequence after which it would come
    cause: str  # `missing`, `extra`, `type`, `fields`, `state`, or `engine_error`
    expected_type: str = ""  # empty: the log has no such decision
    decided_type: str = ""  # empty: nothing is decided
    step: str = ""
    expected: str = ""  # JSON texts of the events
    decided: str = ""
    differences: tuple[ReplayDifference, ...] = ()
    error: str = ""  # of the engine, if it failed
    seen: int = 0  # the newest fact that the decision had seen
    decided_at: int = 0  # ms since the epoch
    state_before: str = ""  # a JSON text; too large: only the status and the step that the event is about
    hash_before: str = ""


class ReplayReply(Message, frozen=True):
    """The result of a replay."""

    run: str
    kind: str  # `run`, `lane` or `schedule`
    workflow: str = ""  # of a run; of a lane or a schedule, its name
    status: str = ""  # of a run
    verdict: str = SAME
    events: int = 0
    decisions: int = 0
    turns: int = 0
    hashed: int = 0  # sequences at which the hashes of both states were compared
    held_turns: int = 0  # turns in which the log shows that steps waited for room or for the end of a pause
    rehosted: int = 0  # turns that are only explained by a scheduler that had read the run from the log
    partial_turns: int = 0  # turns of which the log has only a part, because the append was interrupted
    state_hash: str = ""  # of the state after the last event
    archived: bool = False  # the log was read from the archive
    duration_ms: float = 0.0
    divergence: ReplayDivergence | None = None
    history: tuple[str, ...] = ()  # lines of JSON


REPLAY = Verb("scheduler", "replay", ReplayRequest, ReplayReply, 60.0)
