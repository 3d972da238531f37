"""Runs and their steps."""

from __future__ import annotations

from typing import Final

from agentflow_common.metrics.bounded import counter, gauge, histogram
from agentflow_common.metrics.labels import CHANGE as LEASE_CHANGE
from agentflow_common.metrics.labels import KIND, POOL, STATUS, WORKFLOW

RUN_BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
STEP_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 600, 3600)
CENTS_BUCKETS: Final = (0.001, 0.01, 0.1, 1, 10, 100, 1000, 10000)

RUNS_STARTED: Final = counter("workflow_runs_started", "Runs that began", WORKFLOW)
RUNS: Final = counter("workflow_runs", "Runs that ended, by their final status", STATUS, WORKFLOW)
RUN_SECONDS: Final = histogram(
    "workflow_duration_seconds", "Time of a run from its submission to its end", RUN_BUCKETS, STATUS, WORKFLOW
)
RUN_COST_CENTS: Final = histogram(
    "workflow_cost_cents", "Cost of a run; the sum is the money that ended runs spent", CENTS_BUCKETS, WORKFLOW
)
STEP_RETRIES: Final = counter("step_retries", "Attempts of steps after the first", WORKFLOW)
STEP_SECONDS: Final = histogram(
    "step_duration_seconds", "Time of an attempt in a worker", STEP_BUCKETS, WORKFLOW, KIND, STATUS
)
STEP_WAIT_SECONDS: Final = histogram(
    "step_wait_seconds",
    "Time that an attempt waited for a worker; of waits, approvals, signals and subworkflows: the time until their end",
    STEP_BUCKETS,
    WORKFLOW,
    KIND,
)

ACTIVE_RUNS: Final = gauge("active_runs", "Unfinished runs that a scheduler serves").metric
READY_STEPS: Final = gauge(
    "ready_steps", "Unfinished steps of a scheduler, offered to workers or waiting in its memory"
).metric
PARKED_RUNS: Final = gauge("scheduler_parked_runs", "Runs that wait for something that a decision needs").metric
WAITING_RUNS: Final = gauge("scheduler_waiting_runs", "Runs that wait for room in the window of a worker pool").metric
POOL_OFFERED: Final = gauge("scheduler_pool_steps", "Steps that are offered to a worker pool and not done", POOL)
WINDOW_STEPS: Final = gauge("scheduler_window_steps", "Most steps that a scheduler offers to one worker pool").metric
TURN_SECONDS: Final = histogram(
    "scheduler_turn_seconds", "Time of one turn: fold, decide, append", (0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 1, 5)
).metric
SILENCE_SECONDS: Final = gauge(
    "run_silence_seconds", "Longest time that a run with steps under way has had no new event"
).metric
SHARDS: Final = gauge("scheduler_shards", "Shards that a scheduler serves").metric
LEASES: Final = counter("scheduler_leases", "Leases of shards that were taken, lost or given away", LEASE_CHANGE)
for _change in ("taken", "lost", "given"):  # an alert sees the first increase only of a series that is there
    LEASES.labels(_change)
