"""The laws of the ledger: no amount is negative, limits hold, and any order of redelivery gives the same sums."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from agentflow_common.errors import BudgetExceededError
from agentflow_common.rpc import Candidate
from agentflow_cost import machine
from agentflow_cost.machine import Account, Hold, Limit, Rate, Settlement

ACCOUNTS = ("budget:b:0", "run:o:r1", "run:o:r2")
amounts = st.integers(0, 10**12)
calls = st.lists(
    st.tuples(st.integers(1, 2), amounts, st.floats(0, 1), st.sampled_from(["settle", "expire", "late", "twice"])),
    max_size=25,
)


def apply(accounts: Mapping[str, Account], changes: machine.Changes) -> dict[str, Account]:
    """Returns the accounts after the changes."""
    after = dict(accounts)
    for name, delta in changes.accounts.items():
        old = after.get(name, Account(name))
        after[name] = old._replace(spent=old.spent + delta.spent, reserved=old.reserved + delta.reserved)
    return after


@given(calls, st.integers(0, 10**13), st.integers(0, 10**13), st.randoms())
def test_limits_hold_and_every_event_counts_once_in_any_order(calls, budget, run_budget, random) -> None:  # type: ignore[no-untyped-def]
    accounts = {name: Account(name) for name in ACCOUNTS}
    holds: dict[str, Hold] = {}
    events: list[Settlement] = []
    seen: set[int] = set()
    spent = 0

    def check() -> None:
        for account in accounts.values():
            assert account.spent >= 0 and account.reserved >= 0
        assert accounts["budget:b:0"].spent + accounts["budget:b:0"].reserved <= budget
        for name in ACCOUNTS[1:]:
            assert accounts[name].spent + accounts[name].reserved <= run_budget

    def deliver(batch: list[Settlement]) -> None:
        nonlocal accounts, spent
        fresh = [s for s in {s.seq: s for s in batch}.values() if s.seq not in seen]
        seen.update(s.seq for s in fresh)
        spent += sum(s.cost for s in fresh)
        take(machine.settle(fresh, holds))

    def take(changes: machine.Changes) -> None:
        nonlocal accounts
        accounts = apply(accounts, changes)
        holds.update({name: holds[name]._replace(state=state) for name, state in changes.holds.items()})

    for number, (run, amount, share, fate) in enumerate(calls):
        names = ("budget:b:0", f"run:o:r{run}")
        limits = [Limit(names[0], budget, "budget", ""), Limit(names[1], run_budget, "run", "")]
        candidate = Candidate(
            provider="p", model="m", input_nano_per_mtok=1, output_nano_per_mtok=1, est_cost_nano=amount
        )
        try:
            _, reserved = machine.admit([candidate], limits, accounts)
        except BudgetExceededError:
            room = min(
                limit.limit - accounts[limit.account].spent - accounts[limit.account].reserved for limit in limits
            )
            assert amount > room
            continue
        hold = Hold(f"h{number}", "o", f"r{run}", reserved, machine.HELD, names)
        holds[hold.id] = hold
        take(machine.Changes({name: machine.Delta(0, reserved) for name in names}, {}, {}))
        check()
        if fate == "expire":
            take(machine.let_go([holds[hold.id]], machine.EXPIRED))
        else:
            events.append(Settlement(number, hold.id, int(reserved * share), ()))
            if fate != "late":
                deliver([events[-1]] * (2 if fate == "twice" else 1))
        check()

    deliver(random.sample(events * 2, len(events) * 2))
    check()
    assert spent == sum(s.cost for s in events) == accounts["budget:b:0"].spent
    take(machine.let_go(holds.values(), machine.RELEASED))
    assert all(account.reserved == 0 for account in accounts.values())


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**7), st.integers(0, 10**6), st.data())
def test_what_a_call_costs_is_never_above_its_estimate(price_in, price_out, size, limit, data) -> None:  # type: ignore[no-untyped-def]
    rate, estimate = machine.estimate(machine.Price((Rate(0, price_in, price_out),)), size, limit)
    used_in = data.draw(st.integers(0, size + machine.FRAMING_TOKENS))
    used_out = data.draw(st.integers(0, limit))
    assert 0 <= machine.cost_of(rate, used_in, used_out) <= estimate
