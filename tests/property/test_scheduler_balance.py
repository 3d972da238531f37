"""The assignment of shards to schedulers: even, with no needless move, reached from whatever view each has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_scheduler.shards.balance import assign

MEMBERS = st.sets(st.text("abcdef0123456789", min_size=1, max_size=12), min_size=1, max_size=9)


@st.composite
def situations(draw: st.DrawFn) -> tuple[dict[int, str | None], set[str]]:
    """Any holders of up to 40 shards: nobody, members, and some who are none."""
    members = draw(MEMBERS)
    holders: dict[int, str | None] = {
        shard: draw(st.sampled_from([None, "gone!", *sorted(members)])) for shard in range(draw(st.integers(1, 40)))
    }
    return holders, members


def excess(holders: Mapping[int, str | None], members: set[str]) -> int:
    """How many held shards must move at the least: what the fullest have above an even share."""
    counts = Counter(holder for holder in holders.values() if holder in members)
    floor, odd = divmod(len(holders), len(members))
    by_count = sorted((counts[member] for member in members), reverse=True)
    return sum(max(0, count - floor - (place < odd)) for place, count in enumerate(by_count))


@given(situations())
def test_every_shard_has_an_owner_and_the_counts_are_even(case: tuple[dict[int, str | None], set[str]]) -> None:
    holders, members = case
    owners = assign(holders, members)
    assert owners.keys() == holders.keys()
    counts = Counter(owners.values())
    assert set(counts) <= members
    assert max(counts[m] for m in members) - min(counts[m] for m in members) <= 1


@given(situations())
def test_no_shard_moves_without_need(case: tuple[dict[int, str | None], set[str]]) -> None:
    holders, members = case
    owners = assign(holders, members)
    moved = [shard for shard, holder in holders.items() if holder in members and owners[shard] != holder]
    assert len(moved) == excess(holders, members)
    assert assign(owners, members) == owners


@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_known_does_not_matter(
    case: tuple[dict[int, str | None], set[str]], chance: Random
) -> None:
    holders, members = case
    items, names = list(holders.items()), sorted(members)
    chance.shuffle(items)
    chance.shuffle(names)
    assert assign(dict(items), names) == assign(holders, members)


@given(situations(), MEMBERS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_members_who_act_by_themselves_meet(
    case: tuple[dict[int, str | None], set[str]], later: set[str], chance: Random
) -> None:
    """Each gives and takes by what it sees now, in any order, one shard at a time; a shard that was held moves once."""
    start, before = case
    members = before | later
    holders: dict[int, str | None] = {shard: held if held in members else None for shard, held in start.items()}
    gave: Counter[int] = Counter()
    for _ in range(2 * len(holders) + 1):
        turn = sorted(members)
        chance.shuffle(turn)
        for me in turn:
            owners = assign(holders, members)
            acts = [s for s, held in holders.items() if (held == me) != (owners[s] == me) and held in (me, None)]
            if acts:
                shard = chance.choice(acts)
                gave[shard] += holders[shard] == me
                holders[shard] = None if holders[shard] == me else me
    assert assign(holders, members) == holders
    assert max(gave.values(), default=0) <= 1
    assert sum(gave.values()) == excess(start, members)


def test_nobody_is_assigned_where_nobody_lives() -> None:
    assert assign({0: None, 1: "gone"}, []) == {}
