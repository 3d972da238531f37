"""The glossary names code that is there, and leads to the room of whatever a reader looks for."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs/glossary.md").read_text()
ENTRIES: dict[str, str] = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S))
LABEL = re.compile(r"\[`([^`]+)`\](?!:)")
TARGETS: dict[str, str] = dict(re.findall(r"^\[`([^`]+)`\]: (\S+)$", PAGE, re.M))
TERMS = """
    definition, dependencies, graph, run, step, attempt, task, chain, map, loop, superstep, shared state, approval,
    offer, retry, timer, report, log, event, fact, decision, fold, entity, fence, claim, snapshot, checkpoint,
    dead letter, reply id, shard, lease, pool, lane, slot, schedule, trigger, webhook, idempotency key, fork, label,
    canary, budget, reservation, settlement, ledger, vault token, category, org, api key, permission, page token,
    model token, why, node, subworkflow, continue as new, verdict, decided and settled, turn, worker, stack, audit log
"""
# What a newcomer looks for: the entry, the path that it names, and what stands there.
LOOKED_FOR = (
    ("Retry", "scheduler/runs/steps/attempts.py", "timer_ids.retry("),
    ("Timer", "common/runs/timer_ids.py", "def retry("),
    ("Lane", "scheduler/lanes/machine.py", "state.limit"),
    ("Webhook", "gateway/schedules/webhook_signatures.py", "def verify"),
    ("Snapshot", "scheduler/shards/snapshots.py", "AF_SNAPSHOTS|SNAPSHOT_BUCKET|ObjectStore"),
    ("Vault token", "security/machine.py", "def token_of("),
    ("Loop", "common/runs/explain.py", "is in iteration"),
    ("Loop", "common/definition/dependencies.py", "A back edge"),
    ("Heartbeat", "worker/tasks/heartbeat.py", "class Heartbeat"),
    ("Claim", "worker/tasks/reports.py", "def claim("),
    ("Model call", "worker/models/model_calls.py", "on_truncated"),
    ("Shared state", "common/expressions/state_schema.py", "def reduce("),
    ("Continue as new", "scheduler/runs/continuation.py", "IDLE_RUNS_MAX"),
    ("Budget", "cost/machine.py", "raise _exceeded|BudgetExceededError"),
    ("Fold", "common/runs/fold_facts.py", "StepCompleted"),
)


def home(label: str) -> str:
    """Returns the path from the repository's root: `scheduler/` stands for that service's package."""
    part, _, rest = label.partition("/")
    packages = {"common": "libs/common/src/agentflow_common", "cli": "cli/src/agentctl"}
    package = packages.get(part, f"services/{part}/src/agentflow_{part}")
    return f"{package}/{rest}".rstrip("/")


def test_the_glossary_has_every_term_once() -> None:
    titles = [title.lower() for title in re.findall(r"^### (.+)$", PAGE, re.M)]
    assert len(set(titles)) == len(titles)
    assert {term.strip() for term in TERMS.split(",")} - set(titles) == set()


@pytest.mark.parametrize("title", ENTRIES)
def test_an_entry_names_code_that_is_there(title: str) -> None:
    _, _, code = ENTRIES[title].partition("\nCode: ")
    labels = LABEL.findall(code)
    assert labels, f"{title}: name the module or folder that holds it, after `Code:`"
    for label in labels:
        assert TARGETS.get(label) == f"../{home(label)}", f"{title}: [`{label}`]: {TARGETS.get(label)}"
        assert (ROOT / home(label)).exists(), f"{title}: {label} is not there"


def test_every_target_at_the_end_of_the_page_is_used() -> None:
    assert set(TARGETS) - set(LABEL.findall(PAGE)) == set()


@pytest.mark.parametrize(("title", "label", "found"), LOOKED_FOR)
def test_the_glossary_leads_to_the_room(title: str, label: str, found: str) -> None:
    assert f"[`{label}`]" in ENTRIES[title]
    assert re.search(found.replace("(", r"\("), (ROOT / home(label)).read_text()), f"{label} has no {found}"
