"""`s3.fetch` and `s3.put` through obstore: any S3 endpoint, or `file://` buckets that are folders
of one root.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from agentflow_common.errors import (
    AgentFlowError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    RetryableError,
    TerminalError,
    UnauthenticatedError,
)
from agentflow_worker.context import StepContext
from agentflow_worker.invoke import offload
from agentflow_worker.registry import tool
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tools import documents
from agentflow_worker.tools.confine import resolve
from agentflow_worker.tools.files import check_size, describe

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_TIMEOUT: Final = timedelta(seconds=60)


@tool("s3.fetch", idempotent=True, reveal=("bucket", "key"))
async def s3_fetch(
    bucket: str, key: str, context: StepContext, encoding: str | None = None, max_chars: int | None = None
) -> dict[str, Any]:
    """Reads an object as readable text (as file.read does: text, Markdown, HTML, PDF).

    bucket: a bucket's name, `s3://name` or `file://name` (a folder under AGENTFLOW_BUCKET_ROOT,
    works offline). Returns file.read's fields with "bucket", "key" and "etag".
    """
    settings = context.settings
    store = open_bucket(bucket, settings, key)
    try:
        stored = await store.get_async(key)
        check_size(stored.meta["size"], settings.file_bytes_max, key)
        data = bytes(await stored.bytes_async())
    except Exception as error:
        raise translated(error, bucket, key) from error
    name = key.rsplit("/", 1)[-1]

    def read() -> dict[str, Any]:
        return describe(documents.parse(data, name, encoding), data, name, settings.text_chars_max, max_chars)

    output: dict[str, Any] = await offload(read, settings.threads_max)
    return {**output, "bucket": bucket, "key": key, "etag": stored.meta.get("e_tag") or ""}


@tool("s3.put", idempotent=True, reveal=("bucket", "key"), aliases={"body": "content"})
async def s3_put(
    bucket: str,
    key: str,
    content: Any,
    context: StepContext,
    content_type: str | None = None,
    base64_encoded: bool = False,
) -> dict[str, Any]:
    """Stores a text, bytes as base64 (base64_encoded=true), or any other JSON value as JSON.

    Repeating stores the same. `body` is another name of `content`.

    Returns {"bucket", "key", "bytes", "sha256", "etag"}.
    """
    settings = context.settings
    data, kind = _encoded(content, base64_encoded)
    check_size(len(data), settings.file_bytes_max)
    store = open_bucket(bucket, settings, key, writing=True)
    attributes = None if bucket.startswith("file://") else {"Content-Type": content_type or kind}
    try:
        done = await store.put_async(key, data, attributes=attributes)
    except Exception as error:
        raise translated(error, bucket, key) from error
    return {
        "bucket": bucket,
        "key": key,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "etag": done.get("e_tag") or "",
    }


def _encoded(content: Any, base64_encoded: bool) -> tuple[bytes, str]:
    if base64_encoded:
        try:
            return base64.b64decode(content, validate=True), "application/octet-stream"
        except (ValueError, TypeError) as error:
            raise InvalidError("content is not base64", kind="invalid_arguments") from error
    if isinstance(content, str):
        return content.encode(), "text/plain; charset=utf-8"
    return msgspec.json.encode(content), "application/json"


def open_bucket(bucket: str, settings: WorkerSettings, key: str, *, writing: bool = False) -> ObjectStore:
    """Opens the store behind a bucket's name. Keys can't leave it."""
    if not key or key.startswith("/") or ".." in key.split("/"):
        raise InvalidError(f"the key {key!r} is not valid: use a relative name without '..'", kind="key_invalid")
    parts = urlsplit(bucket if "://" in bucket else f"s3://{bucket}")
    if parts.scheme == "file":
        return _folder(bucket, (parts.netloc + parts.path).strip("/"), settings, key, writing)
    if parts.scheme != "s3" or not parts.netloc or parts.path.strip("/"):
        raise InvalidError(f"{bucket!r} is not a bucket: use name, s3://name or file://name", kind="bucket_invalid")
    secret = settings.s3_secret_access_key.get_secret_value()
    if not settings.s3_access_key_id or not secret:
        raise TerminalError(
            "no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and S3_ENDPOINT if it is not AWS), "
            "or use a file:// bucket",
            kind="s3_not_configured",
        )
    from obstore.store import S3Store

    options: dict[str, Any] = {
        "region": settings.s3_region,
        "access_key_id": settings.s3_access_key_id,
        "secret_access_key": secret,
    }
    if token := settings.s3_session_token.get_secret_value():
        options["session_token"] = token
    if settings.s3_endpoint:
        options |= {"endpoint": settings.s3_endpoint, "virtual_hosted_style_request": False}
    return S3Store(
        parts.netloc,
        client_options={"allow_http": settings.s3_endpoint.startswith("http://"), "timeout": _TIMEOUT},
        retry_config={"max_retries": 0},  # the scheduler alone decides retries
        **options,
    )


def _folder(bucket: str, name: str, settings: WorkerSettings, key: str, writing: bool) -> ObjectStore:
    if settings.bucket_root is None:
        raise TerminalError(
            "file:// buckets are off: set AGENTFLOW_BUCKET_ROOT to the folder that holds them",
            kind="bucket_not_configured",
        )
    if not name:
        raise InvalidError(f"{bucket!r} names no bucket: use file://name", kind="bucket_invalid")
    roots: tuple[Path, ...] = (settings.bucket_root,)
    # judged with the key, so that a symlink inside the bucket can't lead out of the root
    resolve(f"{name}/{key}", roots, writing=True, setting="AGENTFLOW_BUCKET_ROOT")
    folder = resolve(name, roots, writing=True, setting="AGENTFLOW_BUCKET_ROOT")
    if writing:
        folder.mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir():
        raise NotFoundError(f"there is no bucket {bucket!r}: store something in it first", kind="bucket_not_found")
    from obstore.store import LocalStore

    return LocalStore(folder)


def translated(error: Exception, bucket: str, key: str) -> AgentFlowError:
    """Returns our error for one of obstore, without its text: that quotes requests and answers of servers."""
    from obstore import exceptions as oe

    if isinstance(error, AgentFlowError):
        return error
    where = f"{key!r} in {bucket}"
    if isinstance(error, oe.NotFoundError | FileNotFoundError):
        return NotFoundError(f"there is no object {where}", kind="object_not_found")
    if isinstance(error, oe.PermissionDeniedError):
        return PermissionDeniedError(f"access to {where} is denied: check the key's rights", kind="s3_denied")
    if isinstance(error, oe.UnauthenticatedError):
        return UnauthenticatedError(f"the S3 credentials were refused for {where}", kind="s3_unauthenticated")
    if isinstance(error, oe.InvalidPathError | oe.NotSupportedError):
        return InvalidError(f"{where} is not a valid object name", kind="key_invalid")
    return RetryableError(f"{where} could not be reached ({type(error).__name__})", kind="s3_unavailable")
