"""The fast path of fast_path.py beside nats-py's own: both must say and understand the same."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from agentflow_common.log import fast_path
from agentflow_common.log.fast_path import Connection, parse_headers
from tests.support.servers import NatsLike
from tests.support.waiting import until

pytestmark = pytest.mark.integration
Seen = tuple[str, str, bytes, dict[str, str] | None]


@contextlib.asynccontextmanager
async def connections(url: str) -> AsyncIterator[tuple[Connection, Client]]:
    fast, plain = Connection(), await nats.connect(url)
    await fast.connect(url)
    try:
        yield fast, plain
    finally:
        await fast.close()
        await plain.close()


async def follow(nc: Client, subject: str) -> list[Seen]:
    seen: list[Seen] = []
    await fast_path.hand_over(nc, subject, lambda m: seen.append((m.subject, m.reply, bytes(m.data), m.headers)))
    await settled(nc)
    return seen


async def settled(nc: Client) -> None:
    """What was sent is with the server: nats-py's first PING overtakes what is pending, a second does not."""
    for _ in range(2):
        await nc.flush()


async def arrived(seen: list[Any], count: int) -> None:
    await until(lambda: len(seen) == count)


MESSAGES: list[dict[str, Any]] = [
    {"subject": "t.plain", "data": b"x"},
    {"subject": "t.empty", "data": b""},
    {"subject": "t.reply", "data": b"y", "reply": "inbox.1"},
    {"subject": "t.headers", "data": b"z\r\nMSG a 1 1\r\n", "reply": "inbox.2", "headers": {"A": "1", "B-C": "d: e"}},
    {"subject": "t.nothing", "data": b"", "headers": {"Nats-Msg-Id": "r.s[3].1.end"}},
    {"subject": "t.utf8.\u00fc", "data": "\u00e9".encode(), "headers": {"Name": "J\u00fcrgen"}},
    {"subject": "t.lines", "data": b"w", "headers": {"Injected": "a\r\nB: c"}},  # nats-py makes one line of it
    {"subject": "t.large", "data": bytes(range(256)) * 2000},  # many reads
]


async def test_both_clients_send_and_take_the_same(nats_server: NatsLike) -> None:
    async with connections(nats_server.url) as (fast, plain):
        by_fast, by_plain = await follow(fast, "t.>"), await follow(plain, "t.>")
        for message in MESSAGES:
            await fast_path.send(fast, **message)
        await arrived(by_plain, len(MESSAGES))
        for message in MESSAGES:
            await plain.publish(
                message["subject"], message["data"], message.get("reply", ""), headers=message.get("headers")
            )
        await arrived(by_fast, 2 * len(MESSAGES))
        await arrived(by_plain, 2 * len(MESSAGES))
        assert by_fast == by_plain
        sent_fast, sent_plain = by_fast[: len(MESSAGES)], by_fast[len(MESSAGES) :]
        assert sent_fast == sent_plain
        assert [seen[2] for seen in sent_fast] == [message["data"] for message in MESSAGES]
        assert sent_fast[6][3] == {"Injected": "a  B: c"}


async def test_a_subject_that_would_break_the_line_is_refused(nats_server: NatsLike) -> None:
    async with connections(nats_server.url) as (fast, _):
        for subject in ("", "a b", "a\r\nPUB b 1\r\nx"):
            with pytest.raises(nats.errors.BadSubjectError):
                await fast_path.send(fast, subject, b"x")


async def test_statuses_reach_both_alike(nats_server: NatsLike) -> None:
    """503 without a responder, 404 and 408 of a pull, and a batch of direct gets that ends with 204."""
    async with connections(nats_server.url) as (fast, plain):
        js = plain.jetstream()
        await js.add_stream(name="S", subjects=["s.>"], allow_direct=True)
        await js.add_consumer("S", durable_name="C", ack_policy="explicit")
        for number in range(3):
            await js.publish(f"s.{number}", b"x", headers={"N": str(number)})
        found = []
        for nc in (fast, plain):
            seen = await follow(nc, "back.*")
            await fast_path.send(nc, "nobody.listens", b"", "back.1")
            await arrived(seen, 1)
            await fast_path.send(nc, "$JS.API.DIRECT.GET.S", b'{"seq":1,"batch":9,"next_by_subj":"s.>"}', "back.2")
            await arrived(seen, 5)
            await fast_path.send(
                nc, "$JS.API.CONSUMER.MSG.NEXT.S.C", b'{"batch":1,"no_wait":true,"expires":1}', "back.3"
            )
            await arrived(seen, 6)
            # nats-py takes a header for the description of a status that has none
            found.append(
                [
                    (data, {str(k): v for k, v in (headers or {}).items() if k != "Description"})
                    for _, _, data, headers in seen
                ]
            )
        assert found[0] == found[1]
        assert found[0][0][1]["Status"] == "503"
        assert found[0][4][1]["Status"] == "204"
        assert found[0][1][1]["N"] == "0"
        assert parse_headers(b"NATS/1.0 404 No Messages\r\n\r\n") == {"Status": "404", "Description": "No Messages"}


async def test_a_callback_that_fails_stops_nobody(nats_server: NatsLike) -> None:
    async with connections(nats_server.url) as (fast, plain):
        for nc in (fast, plain):
            taken: list[bytes] = []

            def take(message: Any, taken: list[bytes] = taken) -> None:
                taken.append(message.data)
                if message.data == b"bad":
                    raise ValueError("planted")

            await fast_path.hand_over(nc, "f.x", take)
            for data in (b"bad", b"good"):
                await fast_path.send(nc, "f.x", data)
            await arrived(taken, 2)
            assert taken == [b"bad", b"good"]
            assert nc.is_connected
            await nc.drain()


async def test_messages_in_pieces_and_between_other_traffic(nats_server: NatsLike) -> None:
    """Ten thousand messages of all sizes, beside an ordinary subscription and pings, over a slow reader's buffer."""
    async with connections(nats_server.url) as (fast, plain):
        seen = await follow(fast, "m.>")
        others: list[bytes] = []

        async def other(message: Any) -> None:
            others.append(message.data)

        await fast.subscribe("o.>", cb=other)
        await settled(fast)
        for number in range(10_000):
            await plain.publish("m.x", b"%d" % number + b"." * (number * 7919 % 3000), headers={"N": str(number)})
            if number % 10 == 0:
                await plain.publish("o.x", b"%d" % number)
            if number % 1000 == 0:
                await fast.flush()
        await until(lambda: len(seen) == 10_000 and len(others) == 1000)
        assert [int(data.split(b".")[0]) for _, _, data, _ in seen] == list(range(10_000))
        assert all(headers == {"N": str(number)} for number, (_, _, _, headers) in enumerate(seen))
        assert others == [b"%d" % number for number in range(0, 10_000, 10)]


async def test_what_is_sent_while_the_server_is_away_arrives_when_it_is_back(nats_server: NatsLike) -> None:
    fast = Connection()
    await fast.connect(nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0)
    try:
        seen = await follow(fast, "r.>")
        nats_server.kill()
        await until(lambda: not fast.is_connected)
        await fast_path.send(fast, "r.1", b"x")
        nats_server.start()
        await until(lambda: [data for _, _, data, _ in seen] == [b"x"])
        await fast_path.send(fast, "r.2", b"y")
        await until(lambda: len(seen) == 2)
    finally:
        await fast.close()
