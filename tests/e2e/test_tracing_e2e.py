"""One trace over every hop: the context travels in metadata, events and requests, and each service adds its spans."""

from __future__ import annotations

import http.server
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.e2e]


HOPS = {"step llm", "step tool", "prompt.render", "security.protect", "cost.route"}


class Collector:
    """An OTLP/HTTP endpoint that keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.spans: dict[str, list[tuple[str, str]]] = defaultdict(list)
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, request: Any) -> None:
        for resource in request.resource_spans:
            names = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans[span.trace_id.hex()].append((names[0], span.name))


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def test_one_trace_spans_every_hop(collector: Collector, tmp_path: Path) -> None:
    from agentflow_sdk import Client
    from tests.support.stack import running_stack

    roots = [str(ROOT / "examples" / "data")]
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with (
        running_stack(tmp_path / "data", file_roots=roots, env=env) as stack,
        Client(stack.grpc, stack.dev_key) as client,
    ):
        text = (ROOT / "examples" / "document_analysis.yaml").read_text()
        document = str(ROOT / "examples" / "data" / "vendor_review.md")
        run = client.workflows.submit(text, {"document_key": document})
        finished = client.workflows.wait(run.run_id, timeout=PATIENCE_S)
        assert finished.status == "completed"
        wanted = {f"agentflow-{name}" for name in ("gateway", "scheduler", "worker", "security", "prompt", "cost")}
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            spans = list(collector.spans[finished.trace_id])  # each service sends its own, now and then
            missing = wanted - {service for service, _ in spans} | HOPS - {name for _, name in spans}
            if not missing:
                break
            time.sleep(0.2)
        assert not missing, spans
