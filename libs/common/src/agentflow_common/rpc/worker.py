"""Questions to the workers, which alone touch files, buckets and databases of others."""

from __future__ import annotations

from typing import Any

from agentflow_common.rpc.verbs import Message, Verb


class ListFilesRequest(Message, frozen=True):
    """Asks for the files of a folder or a bucket that have settled, by path."""

    folder: str = ""  # inside the worker's file roots
    bucket: str = ""  # in the place of the folder
    pattern: str = "*"
    settle_ms: int = 0  # only files that have not changed for this long
    after: str = ""  # only files whose path below the folder comes after this one
    limit: int = 1_000
    known: str = ""  # the digest of an earlier reply: if it is still the same, the reply lists nothing


class ListedFile(Message, frozen=True):
    """One version of a file."""

    name: str  # the path below the folder, or the key
    size: int
    modified_ms: int
    changed_ms: int  # when the file became what it is: also if it was moved here with an older time
    etag: str


class ListFilesReply(Message, frozen=True):
    """Some of the files. digest: of all of them, so that a folder where nothing happens costs little."""

    files: tuple[ListedFile, ...] = ()
    more: bool = False
    digest: str = ""
    unsettled: int = 0  # files that are still changing
    unreadable: int = 0  # folders that can't be read, and names that are not UTF-8


class ReadRowsRequest(Message, frozen=True):
    """Asks for rows of a table, in the order of the transactions that wrote them."""

    database: str  # a name of the worker's setting
    table: str
    key: str
    position: str
    after: str = ""  # the position of the last row that is known; empty: asks only where the table is now
    after_key: str | None = None  # its key; None: rows at the position itself are not known either
    notify: str = ""  # the channel that tells of new rows
    every_ms: int = 5_000
    wait_ms: int = 0  # the longest wait for a first row
    limit: int = 50


class ReadRow(Message, frozen=True):
    position: str
    key: str
    row: dict[str, Any] | None  # None: too large


class ReadRowsReply(Message, frozen=True):
    rows: tuple[ReadRow, ...] = ()
    now: str = ""  # every transaction before it has ended; only if `after` was empty


READ_ROWS = Verb("worker", "read_rows", ReadRowsRequest, ReadRowsReply, 40.0)
LIST_FILES = Verb("worker", "list_files", ListFilesRequest, ListFilesReply, 30.0)
