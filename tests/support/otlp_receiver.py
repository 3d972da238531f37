"""A receiver of OTLP over HTTP: it keeps the exports that it is sent, or refuses them."""

from __future__ import annotations

import gzip
import http.server
import threading
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class OtlpReceiver:
    """Listens on a free port until `stop`. statuses: the answers to the next requests, instead of 200."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.refused = 0
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                status = receiver.take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                reply = ExportTraceServiceResponse().SerializeToString()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        if path != "/v1/traces":
            return 404
        if self.statuses:
            self.refused += 1
            return self.statuses.pop(0)
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        self.headers.append(headers)
        return 200

    def spans(self, trace_id: str = "", service: str = "") -> list[Any]:
        """Returns all spans that were taken. service: the name of the program that made them."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            if not service or service in [a.value.string_value for a in resource.resource.attributes]
            for scope in resource.scope_spans
            for span in scope.spans
            if not trace_id or span.trace_id.hex() == trace_id
        ]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def attributes_of(span: Any) -> dict[str, Any]:
    """Returns the attributes of a span as plain values."""
    return {item.key: _plain(item.value) for item in span.attributes}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_plain(item) for item in found.values] if kind == "array_value" else found
