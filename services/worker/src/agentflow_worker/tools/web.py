"""`http.get`, which reaches public addresses only.

The guard works on addresses, not on names. A name is resolved once, and each of its addresses must
be public. The connection goes to the address that was judged, with the name in Host and TLS. So a
name that resolves differently the second time gains nothing. Each redirect is judged anew.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from agentflow_common.errors import (
    UNREADABLE,
    AgentFlowError,
    DeadlineError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    RetryableError,
    TerminalError,
    UnauthenticatedError,
)
from agentflow_worker.context import StepContext
from agentflow_worker.registry import tool
from agentflow_worker.retry_after import retry_after_ms

if TYPE_CHECKING:
    import httpx

REDIRECTS_MAX: Final = 5
TIMEOUT_S_MAX: Final = 120.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_RETRYABLE: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SENSITIVE_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


@tool("http.get", idempotent=True, reveal=("url", "headers"))
async def http_get(
    url: str,
    context: StepContext,
    headers: dict[str, str] | None = None,
    timeout_s: float = 30.0,
    max_bytes: int | None = None,
    as_text: bool = True,
) -> dict[str, Any]:
    """Fetches an http(s) address.

    HTML, PDF and Markdown come back as readable text (as_text=false: the raw text).

    Returns {"status", "url": final, "content_type", "text", "title", "bytes", "json"?: parsed for
    application/json}. Statuses 408, 425, 429 and 5xx are retryable (Retry-After is honoured), other
    4xx terminal. The error of a status is of the types `http_503`, `http_5xx` and `http_status`.
    """
    settings = context.settings
    limit = min(max_bytes or settings.http_bytes_max, settings.http_bytes_max)
    try:
        async with asyncio.timeout(min(timeout_s, TIMEOUT_S_MAX)):
            final, response, body = await _follow(url, headers or {}, limit, settings.http_allow_private)
    except TimeoutError as error:
        raise DeadlineError(f"no answer from {_host(url)} in {timeout_s:g} s", kind="http_timeout") from error
    if response.status_code >= 400:
        refused = _status_error(final, response)
        refused.groups = (f"http_{response.status_code // 100}xx", "http_status")
        raise refused
    return await _described(final, response, body, as_text)


async def _follow(
    url: str, headers: dict[str, str], limit: int, allow_private: bool
) -> tuple[str, httpx.Response, bytes]:
    import httpx

    async with httpx.AsyncClient(follow_redirects=False, timeout=TIMEOUT_S_MAX, trust_env=False) as client:
        for _ in range(REDIRECTS_MAX + 1):
            try:
                response, body = await _fetch(client, url, headers, limit, allow_private)
            except httpx.TimeoutException as error:
                raise DeadlineError(f"no answer from {_host(url)} in time", kind="http_timeout") from error
            except (httpx.TransportError, httpx.DecodingError) as error:
                raise RetryableError(f"{_host(url)}: {type(error).__name__}", kind="http_unreachable") from error
            location = response.headers.get("location")
            if response.status_code not in _REDIRECTS or not location:
                return url, response, body
            following = urljoin(url, location)
            if _origin(following) != _origin(url):
                headers = {k: v for k, v in headers.items() if k.lower() not in _SENSITIVE_HEADERS}
            url = following
    raise TerminalError(f"more than {REDIRECTS_MAX} redirects from {_host(url)}", kind="too_many_redirects")


async def _fetch(
    client: httpx.AsyncClient, url: str, headers: dict[str, str], limit: int, allow_private: bool
) -> tuple[httpx.Response, bytes]:
    import httpx

    address = await public_address(url, allow_private)
    try:
        asked = httpx.URL(url)
        request = client.build_request(
            "GET", asked.copy_with(host=address), headers={"user-agent": "agentflow/0.1", **headers}
        )
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise InvalidError(f"the request can't be built ({type(error).__name__}): check url and headers") from error
    request.headers["host"] = asked.netloc.decode("ascii")
    request.extensions["sni_hostname"] = asked.raw_host.decode("ascii")
    response = await client.send(request, stream=True)
    try:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > limit:
                raise TerminalError(
                    f"the answer of {_host(url)} is over {limit:,} bytes: raise AGENTFLOW_HTTP_BYTES_MAX",
                    kind="http_too_large",
                )
        return response, bytes(body)
    finally:
        await response.aclose()


async def public_address(url: str, allow_private: bool) -> str:
    """Returns the address to connect to.

    Raises PermissionDeniedError if any address of the name is not public.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidError(f"the URL is not valid: {error}", kind="url_invalid") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidError(f"only http:// and https:// addresses can be fetched, not {url[:80]!r}", kind="url_invalid")
    loop = asyncio.get_running_loop()
    try:
        resolved = await loop.getaddrinfo(
            parts.hostname, port or (443 if parts.scheme == "https" else 80), type=socket.SOCK_STREAM
        )
    except (socket.gaierror, UnicodeError) as error:
        raise RetryableError(f"the name {parts.hostname} can't be resolved", kind="http_unresolved") from error
    addresses = list(dict.fromkeys(str(item[4][0]) for item in resolved))
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                raise PermissionDeniedError(
                    f"{parts.hostname} is at a private, loopback or reserved address, which http.get may not reach: "
                    "set AGENTFLOW_HTTP_ALLOW_PRIVATE=true on the worker if it should",
                    kind="address_refused",
                )
    return addresses[0]


def is_public(address: str) -> bool:
    """True if an IP address is on the public internet.

    IPv4 addresses inside IPv6 forms are judged as such.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _host(url: str) -> str:
    """Returns the host for messages, without the rest: a path or a query may contain a secret."""
    try:
        return urlsplit(url).hostname or "the address"
    except ValueError:
        return "the address"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def _status_error(url: str, response: httpx.Response) -> AgentFlowError:
    status = response.status_code
    message = f"{_host(url)} answered {status} {response.reason_phrase}"
    kind = f"http_{status}"
    if status in _RETRYABLE or status >= 500:
        return RetryableError(message, kind=kind, retry_after_ms=retry_after_ms(response.headers))
    if status == 401:
        return UnauthenticatedError(message, kind=kind)
    if status == 403:
        return PermissionDeniedError(message, kind=kind)
    if status in (404, 410):
        return NotFoundError(message, kind=kind)
    return TerminalError(message, kind=kind)


async def _described(url: str, response: httpx.Response, body: bytes, as_text: bool) -> dict[str, Any]:
    from agentflow_worker.tools import documents

    declared, _, parameters = response.headers.get("content-type", "").partition(";")
    kind = declared.strip().lower()
    if kind in ("", "application/octet-stream"):
        kind = documents.content_type_of(urlsplit(url).path, body)
    charset = parameters.partition("charset=")[2].strip(" \"'") or None
    output: dict[str, Any] = {"status": response.status_code, "url": url, "content_type": kind, "bytes": len(body)}
    if kind in ("text/html", "application/xhtml+xml", "application/pdf", "text/markdown") and as_text:
        plain = "text/html" if "html" in kind else kind
        document = await asyncio.to_thread(documents.parse, body, _host(url), _known(charset), plain)
        return {**output, "text": document.text, "title": document.title}
    text, _ = documents.decode(body, _host(url), _known(charset))
    output |= {"text": text, "title": ""}
    if kind == "application/json" or kind.endswith("+json"):
        import msgspec

        try:
            output["json"] = msgspec.json.decode(body)
        except UNREADABLE as error:
            raise TerminalError(f"{_host(url)} answered JSON that can't be parsed", kind="http_bad_json") from error
    return output


def _known(charset: str | None) -> str | None:
    """Returns a declared charset that Python knows. A wrong declaration falls back to detection."""
    import codecs

    try:
        return codecs.lookup(charset).name if charset else None
    except LookupError:
        return None
