"""The ledger's tools on real files: booked once, reversed once, shared by processes, whole after a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentflow_common.errors import AgentFlowError
from agentflow_worker.context import StepContext
from agentflow_worker.invoke import invoke
from agentflow_worker.registry import default_registry
from agentflow_worker.settings import WorkerSettings

REGISTRY = default_registry()


class Ledger:
    def __init__(self, root: Path) -> None:
        self.file = root / "ledgers" / "main.jsonl"
        self.settings = WorkerSettings(bucket_root=root)

    async def __call__(self, name: str, step: str = "s", **args: Any) -> Any:
        context = StepContext("o", "r", step, 1, self.settings)
        return await invoke(REGISTRY.get("tool", f"ledger.{name}"), args, context)

    async def balance(self, account: str) -> int:
        made = await self("balance", account=account)
        return int(made["balance"])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


async def test_a_step_books_once_however_often_it_is_tried(ledger: Ledger) -> None:
    first = await ledger("deposit", step="a", account="ann", amount=100)
    assert await ledger("deposit", step="a", account="ann", amount=100) == first
    paid = await ledger("transfer", step="b", source="ann", target="shop", amount=30)
    assert (paid["balance"], await ledger.balance("ann"), await ledger.balance("shop")) == (70, 70, 30)
    for step in ("c", "d"):
        back = await ledger("reverse", step=step, entry=paid["entry"])
        assert (back["source"], back["target"], back["amount"]) == ("shop", "ann", 30)
    assert (await ledger.balance("ann"), await ledger.balance("shop")) == (100, 0)
    assert len(ledger.file.read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "args", "kind"),
    [
        ("transfer", {"source": "ann", "target": "shop", "amount": 101}, "insufficient_funds"),
        ("transfer", {"source": "ann", "target": "ann", "amount": 1}, "account_invalid"),
        ("transfer", {"source": "../x", "target": "ann", "amount": 1}, "account_invalid"),
        ("transfer", {"source": "ann", "target": "shop", "amount": 0}, "invalid_arguments"),
        ("transfer", {"source": "ann", "target": "shop", "amount": 1.5}, "invalid_arguments"),
        ("deposit", {"account": "ann", "amount": 1, "ledger": "../../etc"}, "ledger_invalid"),
        ("reverse", {"entry": "bk_none"}, "booking_not_found"),
    ],
)
async def test_what_cannot_be_booked_is_told_and_changes_nothing(
    ledger: Ledger, name: str, args: dict[str, Any], kind: str
) -> None:
    await ledger("deposit", step="a", account="ann", amount=100)
    before = ledger.file.read_bytes()
    with pytest.raises(AgentFlowError) as caught:
        await ledger(name, step="b", **args)
    assert caught.value.kind == kind
    assert not caught.value.retryable
    assert ledger.file.read_bytes() == before


async def test_a_reversal_is_not_reversed(ledger: Ledger) -> None:
    entry = (await ledger("deposit", step="a", account="ann", amount=5))["entry"]
    back = (await ledger("reverse", step="b", entry=entry))["entry"]
    with pytest.raises(AgentFlowError, match="is a reversal itself"):
        await ledger("reverse", step="c", entry=back)


async def test_a_line_that_a_crash_cut_off_never_was(ledger: Ledger) -> None:
    await ledger("deposit", step="a", account="ann", amount=5)
    whole = ledger.file.read_bytes()
    ledger.file.write_bytes(whole + b'{"id":"bk_torn","source":"outside","tar')
    await ledger("deposit", step="b", account="ann", amount=2)
    assert await ledger.balance("ann") == 7
    assert len(ledger.file.read_bytes().splitlines()) == 2


async def test_without_a_folder_there_is_no_ledger() -> None:
    with pytest.raises(AgentFlowError, match="AGENTFLOW_BUCKET_ROOT"):
        await invoke(
            REGISTRY.get("tool", "ledger.balance"), {"account": "a"}, StepContext("o", "r", "s", 1, WorkerSettings())
        )


async def test_processes_share_a_ledger_without_losing_a_booking(ledger: Ledger, tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from agentflow_worker.tools.ledger import ledger_deposit\n"
        "from agentflow_worker.context import StepContext\n"
        "from agentflow_worker.settings import WorkerSettings\n"
        "settings = WorkerSettings(bucket_root=Path(sys.argv[1]))\n"
        "for n in range(50):\n"
        "    ledger_deposit('ann', 1, StepContext('o', sys.argv[2], str(n), 1, settings))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    running = [subprocess.Popen([*command, f"run{n}"]) for n in range(4)]
    assert [process.wait(300) for process in running] == [0] * 4
    assert await ledger.balance("ann") == 200
