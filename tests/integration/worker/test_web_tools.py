"""http.get against a local server, and s3.* against a real S3 implementation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from agentflow_common.errors import AgentFlowError, NotFoundError, PermissionDeniedError, RetryableError, TerminalError
from agentflow_worker.context import StepContext
from agentflow_worker.invoke import invoke
from agentflow_worker.registry import default_registry
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tools.web import is_public

pytestmark = pytest.mark.integration
REGISTRY = default_registry()


class Handler(BaseHTTPRequestHandler):
    pages: ClassVar[dict[str, tuple[int, dict[str, str], bytes]]] = {
        "/page": (200, {"content-type": "text/html; charset=utf-8"}, b"<title>T</title><p>Hi <b>you</b></p>"),
        "/json": (200, {"content-type": "application/json"}, b'{"a": 1}'),
        "/big": (200, {"content-type": "text/plain"}, b"x" * 5000),
        "/hop": (302, {"location": "/page"}, b""),
        "/loop": (302, {"location": "/loop"}, b""),
        "/out": (302, {"location": "file:///etc/passwd"}, b""),
        "/busy": (503, {"retry-after": "3"}, b""),
        "/gone": (404, {}, b""),
        "/bad": (400, {}, b""),
    }

    def do_GET(self) -> None:
        status, headers, body = self.pages[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def call(name: str, settings: WorkerSettings, **args: Any) -> Any:
    return await invoke(REGISTRY.get("tool", name), args, StepContext("o", "r", "s", 1, settings))


async def test_pages_json_and_redirects(site: str) -> None:
    open_ = WorkerSettings(http_allow_private=True)
    page = await call("http.get", open_, url=f"{site}/hop")
    assert (page["status"], page["url"], page["title"], page["text"]) == (200, f"{site}/page", "T", "Hi you")
    assert (await call("http.get", open_, url=f"{site}/json"))["json"] == {"a": 1}
    assert "<p>" in (await call("http.get", open_, url=f"{site}/page", as_text=False))["text"]


@pytest.mark.parametrize(
    ("path", "error", "kind"),
    [
        ("/busy", RetryableError, "http_503"),
        ("/gone", NotFoundError, "http_404"),
        ("/bad", TerminalError, "http_400"),
        ("/big", TerminalError, "http_too_large"),
        ("/loop", TerminalError, "too_many_redirects"),
        ("/out", TerminalError, "url_invalid"),
    ],
)
async def test_failures_have_their_kind(site: str, path: str, error: type[AgentFlowError], kind: str) -> None:
    with pytest.raises(error) as caught:
        await call("http.get", WorkerSettings(http_allow_private=True), url=site + path, max_bytes=1000)
    assert caught.value.kind == kind
    groups = {"http_503": ("http_5xx", "http_status"), "http_404": ("http_4xx", "http_status")}
    assert caught.value.groups == groups.get(kind, ("http_4xx", "http_status") if kind == "http_400" else ())
    assert caught.value.retry_after_ms == (3000 if kind == "http_503" else None)


async def test_private_addresses_are_refused_by_name_and_by_number(site: str) -> None:
    port = site.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "2130706433", "[::ffff:127.0.0.1]"):
        with pytest.raises((PermissionDeniedError, RetryableError)) as caught:
            await call("http.get", WorkerSettings(), url=f"http://{host}:{port}/page")
        assert caught.value.kind in ("address_refused", "http_unresolved"), host
    with pytest.raises(RetryableError) as broken:
        await call("http.get", WorkerSettings(http_allow_private=True), url="http://127.0.0.1:1/")
    assert broken.value.kind == "http_unreachable"


def test_public_is_what_the_internet_can_reach() -> None:
    assert is_public("8.8.8.8")
    assert is_public("2606:4700::1111")
    for address in (
        "10.0.0.1",
        "100.64.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ):
        assert not is_public(address), address


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


async def test_s3_round_trip_through_any_endpoint(s3: str) -> None:
    import httpx

    async with httpx.AsyncClient() as client:
        await client.put(f"{s3}/docs")
    settings = WorkerSettings(s3_endpoint=s3, s3_access_key_id="k", s3_secret_access_key="s")
    put = await call("s3.put", settings, bucket="docs", key="a/b.html", content="<title>T</title><p>Hé</p>")
    read = await call("s3.fetch", settings, bucket="s3://docs", key="a/b.html")
    assert (read["text"], read["title"], read["etag"]) == ("Hé", "T", put["etag"])
    with pytest.raises(NotFoundError):
        await call("s3.fetch", settings, bucket="docs", key="none")
    with pytest.raises(RetryableError):
        await call(
            "s3.fetch", settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"}), bucket="docs", key="x"
        )
    with pytest.raises(TerminalError, match="AWS_ACCESS_KEY_ID"):
        await call("s3.fetch", settings.model_copy(update={"s3_access_key_id": ""}), bucket="docs", key="x")
