"""A ClickHouse server for tests: chDB's engine behind as much of the HTTP interface as the services' client speaks.

    python tests/support/clickhouse_server.py FOLDER PORT

A process of its own, so that it can be stopped, killed and started again on its folder. It answers one query at a time.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from agentflow_common.embedded import processes

START_S_MAX: Final = 60.0
UNKNOWN: Final = "1002"
AUTHENTICATION_FAILED: Final = "516"
PASSWORD: Final = "TEST_CLICKHOUSE_PASSWORD"  # of the user `default`
# parts of the URL that are of the transport; what else is there are settings of the query
TRANSPORT: Final = {
    "query", "database", "default_format", "session_id", "session_timeout", "session_check", "query_id", "compress",
    "decompress", "wait_end_of_query", "client_protocol_version", "enable_http_compression", "buffer_size", "role",
    "send_progress_in_http_headers", "http_headers_progress_interval_ms", "quota_key",
}  # fmt: skip


class ClickHouseServer:
    """The server as a child process. `port` stays over a restart."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.folder = folder
        self.password = password
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        found = {"CLICKHOUSE_HOST": "127.0.0.1", "CLICKHOUSE_PORT": str(self.port)}
        return {**found, "CLICKHOUSE_PASSWORD": self.password} if self.password else found

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as output:
            # -P: the modules beside this file, `platform` for one, don't stand for those of the standard library
            command = [sys.executable, "-P", __file__, str(self.folder), str(self.port)]
            env = {**os.environ, PASSWORD: self.password}
            self.process = processes.spawn(command, env=env, output=output)
        if not processes.wait_until(self._answers, self.process, START_S_MAX):
            raise AssertionError("the ClickHouse server did not start")
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=1.0) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            processes.stop(self.process, signal.SIGTERM)
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Engine:
    """chDB on one folder."""

    def __init__(self, folder: Path) -> None:
        import chdb

        self._spool = folder / "inserts"
        self._spool.mkdir(parents=True, exist_ok=True)
        self._engine: Any = chdb.connect(str(folder / "data"))
        self._lock = threading.Lock()

    def run(self, asked: dict[str, str], body: bytes) -> bytes:
        """The answer to one request, in the format that it asks for. RuntimeError with the engine's words."""
        statement, data = asked.get("query", ""), body
        if not statement:  # the statement leads the body; behind an INSERT's first line comes its data
            head, found, rest = body.partition(b"\n")
            insert = found and head.lstrip()[:6].upper() == b"INSERT"
            statement, data = (head.decode(), rest) if insert else (body.decode(), b"")
        values = {name.removeprefix("param_"): value for name, value in asked.items() if name.startswith("param_")}
        settings = {n: v for n, v in asked.items() if n not in TRANSPORT and not n.startswith("param_")}
        with self._lock, self._set(settings):
            if asked.get("database"):
                self._engine.query(f"USE `{asked['database']}`")
            if statement.lstrip()[:6].upper() == "INSERT":
                return self._insert(statement, data, values)
            text, kind = self._format((statement + "\n" + data.decode()).strip().rstrip(";"), asked)
            answer = self._engine.query(text, kind, params=values) if values else self._engine.query(text, kind)
            return bytes(answer.bytes() or b"") if answer is not None else b""

    @contextlib.contextmanager
    def _set(self, settings: dict[str, str]) -> Iterator[None]:
        for name, value in settings.items():
            self._engine.query(f"SET {name} = '{value}'")
        try:
            yield
        finally:
            for name in settings:
                self._engine.query(f"SET {name} = DEFAULT")

    def _insert(self, statement: str, data: bytes, values: dict[str, str]) -> bytes:
        into, _, kind = statement.rpartition("FORMAT")
        if not into:  # INSERT ... SELECT
            text = statement + "\n" + data.decode()
            self._engine.query(text, "Null", params=values) if values else self._engine.query(text)
            return b""
        with tempfile.NamedTemporaryFile(dir=self._spool) as file:
            file.write(data)
            file.flush()
            if " FROM input(" in into:  # the data as a table: chDB has them only as a file
                source = f" FROM file('{file.name}', '{kind.strip()}', "
                self._engine.query(into.replace(" FROM input(", source), "Null", params=values)
            else:
                self._engine.query(f"{into} FROM INFILE '{file.name}' FORMAT {kind.strip()}")
        return b""

    @staticmethod
    def _format(statement: str, asked: dict[str, str]) -> tuple[str, str]:
        """(the statement without its FORMAT, the format)."""
        words = statement.split()
        if len(words) > 2 and words[-2].upper() == "FORMAT":
            return statement[: statement.rindex(words[-2])], words[-1]
        return statement, asked.get("default_format", "TabSeparated")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine
    password = ""

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        body = self._body()
        if url.path == "/ping":
            self._answer(200, b"Ok.\n")
            return
        if not self._known():
            self._answer(403, b"Code: 516. DB::Exception: default: Authentication failed", AUTHENTICATION_FAILED)
            return
        asked = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        try:
            answer = self.engine.run(asked, body)
        except Exception as error:  # the engine's errors have no type of their own
            text = str(error)
            code = text.partition("Code: ")[2].partition(".")[0] or UNKNOWN
            self._answer(500, text.encode(), code)
        else:
            self._answer(200, answer)

    def _known(self) -> bool:
        basic = base64.b64encode(f"default:{self.password}".encode()).decode()
        return not self.password or self.headers.get("Authorization") == f"Basic {basic}"

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "lz4":
            import lz4.frame

            return bytes(lz4.frame.decompress(body))
        return body

    def _answer(self, status: int, body: bytes, code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-ClickHouse-Timezone", "UTC")
        self.send_header("X-ClickHouse-Summary", '{"read_rows": "0", "written_rows": "0"}')
        if code:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def main(folder: str, port: str) -> None:
    Handler.engine = Engine(Path(folder))
    Handler.password = os.environ.get(PASSWORD, "")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
