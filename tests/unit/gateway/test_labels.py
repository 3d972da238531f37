"""Which version a reference means."""

from __future__ import annotations

import pytest

from agentflow_common.errors import InvalidError
from agentflow_gateway.definitions import labels
from agentflow_gateway.definitions.labels import WorkflowRef
from agentflow_gateway.store.labels import LabelRow


@pytest.mark.parametrize("ref", ["", "a@", "a@0", "a@X", "a b", "a@1@2", "*", "a.b", "a@-x", "a@" + "x" * 33])
def test_bad_references(ref: str) -> None:
    with pytest.raises(InvalidError):
        labels.parse_ref(ref)


def test_references() -> None:
    assert labels.parse_ref("doc") == WorkflowRef("doc")
    assert labels.parse_ref("doc@12") == WorkflowRef("doc", 12)
    assert labels.parse_ref("doc@prod") == WorkflowRef("doc", None, "prod")
    assert labels.parse_ref("doc@latest") == WorkflowRef("doc")


@pytest.mark.parametrize("label", ["", "Prod", "9x", "latest", "a b", "x" * 33, "a.b"])
def test_bad_labels(label: str) -> None:
    with pytest.raises(InvalidError):
        labels.check_label(label)


def test_a_canary_takes_its_part_and_a_run_always_gets_the_same_version() -> None:
    row = LabelRow(label="prod", version=1, canary_version=2, canary_percent=20)
    runs = [f"run_{number}" for number in range(5000)]
    chosen = [labels.version_for(row, run) for run in runs]
    assert chosen == [labels.version_for(row, run) for run in runs]
    assert 0.17 < chosen.count(2) / len(runs) < 0.23
    more = LabelRow(label="prod", version=1, canary_version=2, canary_percent=60)
    assert all(labels.version_for(more, run) == 2 for run, version in zip(runs, chosen, strict=True) if version == 2)
    assert labels.version_for(row, "") == 1


def test_moving_a_label() -> None:
    first = labels.moved(None, "prod", 1, 0, 0)
    assert first == LabelRow(label="prod", version=1)
    canary = labels.moved(first, "prod", 2, 10, 1)
    assert canary == LabelRow(label="prod", version=1, canary_version=2, canary_percent=10)
    assert labels.moved(canary, "prod", 2, 50, 1).canary_percent == 50
    assert labels.moved(canary, "prod", 2, 100, 1) == LabelRow(label="prod", version=2)
    assert labels.moved(canary, "prod", 1, 30, 1) == first, "back to the old version alone"
    assert labels.shown([canary, LabelRow(label="dev", version=2)]) == {1: ["prod 90%"], 2: ["prod 10%", "dev"]}


@pytest.mark.parametrize(("before", "percent", "taken"), [(None, 10, 0), (None, 101, 0), (None, 0, 100)])
def test_labels_that_can_not_be_moved(before: LabelRow | None, percent: int, taken: int) -> None:
    with pytest.raises(InvalidError) as caught:
        labels.moved(before, "prod", 1, percent, taken)
    assert caught.value.problems[0].fix
