"""`/healthz`, `/readyz` and `/metrics` of every service, on a thread of the standard library's server."""

from __future__ import annotations

import http.server
import selectors
import socket
import threading
import time
from typing import Any, Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agentflow_common.metrics import calls

ROUTES: Final = frozenset({"/healthz", "/health", "/readyz", "/ready", "/metrics"})
STILL_S_MAX: Final = 3.5  # without a beat: the service's loop answers nobody
STUCK_S_MAX: Final = 60.0  # without a beat: a restart is the only help


class Health:
    """The health of a service. It has `begun` once its consumers and stores are there, and is `ready` unless a part
    of `parts` says why not. It is `alive` until it has `ended`.

    A service that calls `beat` must go on with it: one that has stopped is neither ready nor, after STUCK_S_MAX, alive.
    """

    def __init__(self, service: str, version: str) -> None:
        self.service = service
        self.version = version
        self.parts: dict[str, str] = {}
        self.failed = ""
        self.begun = False
        self.ended = False
        self._beat_at = 0.0

    @property
    def alive(self) -> bool:
        return not self.ended and self._still_s() < STUCK_S_MAX

    @property
    def ready(self) -> bool:
        well = self.begun and not self.ended and self._still_s() < STILL_S_MAX
        return well and all(state == "ok" for state in self.parts.values())

    def beat(self) -> None:
        """Notes that the service's loop turns. The loop calls it."""
        self._beat_at = time.monotonic()

    def _still_s(self) -> float:
        return time.monotonic() - self._beat_at if self._beat_at else 0.0

    def fail(self, why: str) -> None:
        """Reports the service as not alive: it can't go on."""
        self.failed = self.failed or why
        self.ended = True

    def set_part(self, name: str, state: str) -> None:
        """Sets the state of a part: `ok`, or the problem."""
        self.parts[name] = state

    def body(self) -> dict[str, Any]:
        status = "ready" if self.ready else "not ready"
        parts = dict(self.parts)
        if self._still_s() >= STILL_S_MAX:
            parts["loop"] = f"stands still for {self._still_s():.0f} s"
        if self.failed:
            parts["service"] = f"ends: {self.failed}"
        return {"service": self.service, "version": self.version, "status": status, "parts": parts}


class HealthServer(http.server.ThreadingHTTPServer):
    """Serves on a thread of its own. `stop` ends it at once: `serve_forever` looks for that every half second only."""

    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        super().__init__((host, port), handler)
        self._asked_to_stop, self._ask_to_stop = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="httpd", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def stop(self) -> None:
        self._ask_to_stop.close()
        self._thread.join()
        self._asked_to_stop.close()
        self.server_close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            selector.register(self._asked_to_stop, selectors.EVENT_READ)
            while all(key.fileobj is self for key, _ in selector.select()):
                self._handle_request_noblock()  # type: ignore[attr-defined]  # what serve_forever calls


def start(health: Health, host: str, port: int) -> HealthServer:
    """Serves from now on."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            began = time.perf_counter()
            path = self.path.split("?", 1)[0]
            code = self._answer(path)
            route = path if path in ROUTES else "unknown"
            calls.HTTP_SECONDS.labels(route).observe(time.perf_counter() - began)
            calls.HTTP_REQUESTS.labels(route, str(code)).inc()

        def _answer(self, path: str) -> int:
            if path in {"/healthz", "/health"}:
                return self._send(200 if health.alive else 503, "application/json", msgspec.json.encode(health.body()))
            if path in {"/readyz", "/ready"}:
                return self._send(200 if health.ready else 503, "application/json", msgspec.json.encode(health.body()))
            if path == "/metrics":
                return self._send(200, CONTENT_TYPE_LATEST, generate_latest())
            return self._send(404, "application/json", b'{"error":"try /healthz, /readyz or /metrics"}')

        def _send(self, code: int, content_type: str, body: bytes) -> int:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return code

        def log_message(self, *_args: Any) -> None:
            pass

    return HealthServer(host, port, Handler)
