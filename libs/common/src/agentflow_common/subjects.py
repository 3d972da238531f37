"""Every subject, stream, bucket and durable name of AgentFlow. No other module defines one.

`af.evt.<shard>.<org>.<run>.in`               facts from outside the scheduler
`af.evt.<shard>.<org>.<run>.out.task.<pool>`  a step attempt offered to workers
`af.evt.<shard>.<org>.<run>.out.run|step`     decisions about the run, about its steps
`af.evt.<shard>.<org>.<run>.claim.<step>.<n>` taken once before a non-idempotent step runs
`af.timer.<shard>.<run>.<timer>`              JetStream message schedules
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple
from zlib import crc32

SHARDS: Final = 16  # fixed when the log is created: a run's shard never changes

EVENTS_STREAM: Final = "AF_EVENTS"
COST_STREAM: Final = "AF_COST"
AUDIT_STREAM: Final = "AF_AUDIT"
DEAD_STREAM: Final = "AF_DEAD"
BLOB_BUCKET: Final = "AF_BLOBS"
SNAPSHOT_BUCKET: Final = "AF_SNAPSHOTS"
LEASE_BUCKET: Final = "AF_LEASES"
LEASE_STREAM: Final = f"KV_{LEASE_BUCKET}"
LEASE_PREFIX: Final = f"$KV.{LEASE_BUCKET}."
ALL_LEASES: Final = LEASE_PREFIX + ">"
REGISTRY_BUCKET: Final = "AF_REGISTRY"  # descriptions of tools and functions
WORKERS_BUCKET: Final = "AF_WORKERS"  # what each worker offers, ages out
CONTROLS_BUCKET: Final = "AF_CONTROLS"  # what operators set live: `lane.<name>`, `workflow.<org>.<name>`
LOAD_BUCKET: Final = "AF_LOAD"  # what each scheduler has in hand: `scheduler.<id>`, ages out

EVENTS_SUBJECTS: Final = ("af.evt.>", "af.timer.>")
COST_SUBJECTS: Final = ("af.cost.>",)
AUDIT_SUBJECTS: Final = ("af.audit.>",)
DEAD_SUBJECTS: Final = ("af.dead.>",)

OUT_RUN: Final = ".out.run"  # how the subject of decisions about a whole run ends
ALL_INS: Final = "af.evt.*.*.*.in"
ALL_RUN_DECISIONS: Final = f"af.evt.*.*.*{OUT_RUN}"
ALL_SCHEDULES: Final = "af.evt.*.*.*.out.schedule"  # what lists of schedules show
ALL_STEP_DECISIONS: Final = "af.evt.*.*.*.out.step"
ALL_EVENTS: Final = "af.evt.>"

LANE_ORG: Final = "_lanes"  # the org of keyed lanes, which serve all
ALL_LANE_INS: Final = f"af.evt.*.{LANE_ORG}.*.in"
LANE_PREFIX: Final = "lane_"  # entities that are not runs have ids of their own kind
SCHEDULE_PREFIX: Final = "sched_"
SCHEDULES_POOL: Final = "_schedules"  # where a schedule that fires asks for its run to be submitted

DEFAULT_POOL: Final = "default"
NOBODY: Final = "~"  # in the place of an org or a run; no name may hold it

Kind = Literal["run", "lane", "schedule"]  # the kinds of entities that have a log


class EntityKey(NamedTuple):
    """The place of an entity's events in the log."""

    shard: int  # 0..SHARDS-1
    org: str
    name: str  # an id: of a run, or of a lane or a schedule with its prefix; events carry it as `run`

    @property
    def kind(self) -> Kind:
        return kind_of(self.name)


def kind_of(name: str) -> Kind:
    """Returns the kind of the entity with this id."""
    if name.startswith(LANE_PREFIX):
        return "lane"
    return "schedule" if name.startswith(SCHEDULE_PREFIX) else "run"


def shard_of(name: str) -> int:
    return crc32(name.encode()) % SHARDS


def key_of(org: str, name: str) -> EntityKey:
    return EntityKey(shard_of(name), org, name)


def prefix(key: EntityKey) -> str:
    return f"af.evt.{key.shard}.{key.org}.{key.name}"


def run_in(key: EntityKey) -> str:
    return prefix(key) + ".in"


def run_out_all(key: EntityKey) -> str:
    """Returns the wildcard that fences the scheduler's appends."""
    return prefix(key) + ".out.>"


def run_all(key: EntityKey) -> str:
    return prefix(key) + ".>"


def out_task(key: EntityKey, pool: str) -> str:
    return f"{prefix(key)}.out.task.{pool}"


def out_run(key: EntityKey) -> str:
    return prefix(key) + OUT_RUN


def out_step(key: EntityKey) -> str:
    return prefix(key) + ".out.step"


def out_schedule(key: EntityKey) -> str:
    return prefix(key) + ".out.schedule"


def out_checkpoint(key: EntityKey) -> str:
    """Returns the subject of whole states of long-lived entities. Reading begins at its newest message."""
    return prefix(key) + ".out.checkpoint"


def claim(key: EntityKey, step: str, attempt: int) -> str:
    return f"{prefix(key)}.claim.{token(step)}.{attempt}"


def shard_all(shard: int) -> str:
    return f"af.evt.{shard}.>"


def shard_ins(shard: int) -> str:
    return f"af.evt.{shard}.*.*.in"


def pool_tasks(pool: str) -> str:
    return f"af.evt.*.*.*.out.task.{pool}"


def timer(key: EntityKey, timer_id: str) -> str:
    return f"af.timer.{key.shard}.{key.name}.{token(timer_id)}"


def run_timers(key: EntityKey) -> str:
    return f"af.timer.{key.shard}.{key.name}.>"


def live(run: str, step: str) -> str:
    """Returns the subject of a running step's token stream: ephemeral, for viewers only."""
    return f"af.live.{run}.{token(step)}"


def live_run(run: str) -> str:
    return f"af.live.{run}.>"


def control(run: str) -> str:
    """Returns the subject of ephemeral hints to workers (stop this run's steps). Only the log decides."""
    return f"af.ctl.{run}"


ALL_CONTROL: Final = "af.ctl.*"


def rpc(service: str, verb: str) -> str:
    return f"af.rpc.{service}.{verb}"


def rpc_self(service: str, token: str) -> str:
    """Returns the subject on which one process of a service answers itself, to prove that it can be reached."""
    return f"af.rpc.{service}.self.{token}"


def cost_ledger(org: str, run: str) -> str:
    return f"af.cost.{org}.{run}"


def audit(org: str, run: str) -> str:
    return f"af.audit.{org}.{run or '_'}"


def audit_of(org: str) -> str:
    return f"af.audit.{org}.*"


def dead(origin: str, org: str, run: str, origin_seq: int) -> str:
    """Returns the subject of a dead letter: one for each message, so that a service buries a message once."""
    return f"af.dead.{origin}.{org or NOBODY}.{run or NOBODY}.{origin_seq}"


def dead_of(org: str) -> str:
    """Returns the wildcard for the dead letters of an org. NOBODY: of letters whose subject names no org."""
    return f"af.dead.*.{org}.>"


def lease(shard: int) -> str:
    """Returns the key of a shard's lease."""
    return f"shard.{shard}"


def lease_member(token: str) -> str:
    """Returns the key by which a scheduler announces itself."""
    return f"member.{token}"


def pool_durable(pool: str) -> str:
    return f"AF_LANE_{pool}"


def durable(service: str, what: str) -> str:
    """Returns the name of a service's durable consumer, such as `AF_COST_settle`."""
    return f"AF_{service.upper()}_{what}"


def parse(subject: str) -> EntityKey | None:
    """Returns the entity that an `af.evt` subject belongs to. None for any other subject."""
    parts = subject.split(".", 5)
    if len(parts) < 6 or parts[1] != "evt" or not parts[2].isdigit():
        return None
    return EntityKey(int(parts[2]), parts[3], parts[4])


def is_decision(subject: str) -> bool:
    """True if only a run's scheduler writes to this subject of it."""
    return ".out." in subject


def token(text: str) -> str:
    """Returns a step key as one subject token: `analyze[3]` -> `analyze~3`."""
    return text.replace("[", "~").replace("]", "")
