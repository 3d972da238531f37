"""Which live scheduler should serve which shard: pure, the same answer for whoever asks with the same facts.

Counts differ by at most one, and no more shards move than that needs. The answer starts from the present holders, so a
join takes from the fullest only and a leave gives away only what was left behind. Views that differ for a moment (one
scheduler has read of a join, another has not) still meet: a holder that is entitled to its count stays entitled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import blake2b


def assign(holders: Mapping[int, str | None], members: Collection[str]) -> dict[int, str]:
    """shard -> member. holders: who serves each shard now; None, or who is no member, means that it is free."""
    if not members:
        return {}
    kept: dict[str, list[int]] = {member: [] for member in members}
    for shard, holder in holders.items():
        if holder in kept:
            kept[holder].append(shard)
    room = _quotas({member: len(shards) for member, shards in kept.items()}, len(holders))
    owners: dict[int, str] = {}
    for member, shards in kept.items():
        for shard in sorted(shards, key=lambda shard: _score(member, shard), reverse=True)[: room[member]]:
            owners[shard] = member
            room[member] -= 1
    for shard in sorted(holders):
        if shard not in owners:
            owner = max((m for m in members if room[m] > 0), key=lambda member: _score(member, shard))
            owners[shard] = owner
            room[owner] -= 1
    return owners


def _quotas(counts: Mapping[str, int], shards: int) -> dict[str, int]:
    """How many shards each member is to have. Those who have more than the floor keep the odd ones."""
    floor, odd = divmod(shards, len(counts))
    ranked = sorted(counts, key=lambda member: (counts[member] <= floor, _score(member, -1)))
    return {member: floor + (place < odd) for place, member in enumerate(ranked)}


def _score(member: str, shard: int) -> bytes:
    """The rank of a member for a shard (rendezvous hashing)."""
    return blake2b(f"{shard}/{member}".encode(), digest_size=8).digest()
