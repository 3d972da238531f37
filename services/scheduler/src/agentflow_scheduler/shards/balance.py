"""The assignment of shards to live schedulers.

Pure: all schedulers compute the same from the same facts. Counts differ by at most one, and no more
shards move than that needs. The assignment starts from the present holders, so a scheduler that
joins takes shards from the fullest only, and only the shards of one that leaves are given away.
Schedulers may know different facts for a moment: one has read of a join, another has not. They
still agree in the end, because a holder that is entitled to its count stays entitled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import blake2b


def assign(holders: Mapping[int, str | None], members: Collection[str]) -> dict[int, str]:
    """Returns the member for each shard.

    holders: the scheduler that serves each shard now. A shard is free if that is None or not a
    member.
    """
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
    """Returns how many shards each member should have.

    Members with more than the floor keep the odd ones.
    """
    floor, odd = divmod(shards, len(counts))
    ranked = sorted(counts, key=lambda member: (counts[member] <= floor, _score(member, -1)))
    return {member: floor + (place < odd) for place, member in enumerate(ranked)}


def _score(member: str, shard: int) -> bytes:
    """Returns the rank of a member for a shard (rendezvous hashing)."""
    return blake2b(f"{shard}/{member}".encode(), digest_size=8).digest()
