"""The figures of JetStream that the gateway shows are the server's own."""

from __future__ import annotations

import nats
from nats.js import api
from prometheus_client import REGISTRY

from agentflow_common import subjects
from agentflow_common.log.streams import ensure_streams
from agentflow_gateway.operations import jetstream_metrics


def shown(name: str) -> dict[tuple[str, ...], float]:
    """The series of a metric by the values of their labels."""
    family = next(family for family in REGISTRY.collect() if family.name == name)
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


async def test_streams_and_durable_consumers_are_shown_as_the_server_has_them(nats_url: str) -> None:
    nc = await nats.connect(nats_url)
    try:
        await ensure_streams(nc)
        js, jsm = nc.jetstream(), nc.jsm()
        await js.add_stream(name="MINE", subjects=["mine"])
        subject = subjects.run_in(subjects.key_of("o", "run_1"))
        for _ in range(7):
            await js.publish(subject, b"x" * 100)
        every = api.ConsumerConfig(durable_name="reader", ack_policy=api.AckPolicy.EXPLICIT, max_ack_pending=10)
        await jsm.add_consumer(subjects.EVENTS_STREAM, every)
        taken = await (await js.pull_subscribe_bind("reader", subjects.EVENTS_STREAM)).fetch(2, timeout=5)
        watcher = await js.subscribe(subject, stream=subjects.EVENTS_STREAM)  # counted, not named

        await jetstream_metrics.measure(nc)
        events = (subjects.EVENTS_STREAM,)
        assert shown("jetstream_stream_messages")[events] == 7
        assert shown("jetstream_stream_last_sequence")[events] == 7
        assert shown("jetstream_stream_bytes")[events] == (await jsm.stream_info(events[0])).state.bytes > 700
        assert shown("jetstream_stream_consumers")[events] == 2
        assert shown("jetstream_consumer_pending") == {(*events, "reader"): 5}
        assert shown("jetstream_consumer_ack_pending") == {(*events, "reader"): len(taken)}
        assert ("MINE",) in shown("jetstream_stream_bytes")
        assert shown("jetstream_storage_bytes")[()] == (await nc.jetstream().account_info()).storage

        await jsm.delete_stream("MINE")
        await jsm.delete_consumer(subjects.EVENTS_STREAM, "reader")
        await watcher.unsubscribe()
        await jetstream_metrics.measure(nc)
        assert ("MINE",) not in shown("jetstream_stream_bytes")
        assert shown("jetstream_consumer_pending") == {}
    finally:
        await nc.close()
