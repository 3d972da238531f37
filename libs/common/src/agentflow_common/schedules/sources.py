"""The places that a schedule may watch: a folder, a bucket, a table of PostgreSQL. Each new item starts a run. Pure.

An item of a source (a file, a row) is known by its id and its version. The same version of an item is one trigger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from agentflow_common import ids
from agentflow_common.definition.durations import duration_ms, duration_schema
from agentflow_common.schedules import patterns

FILE: Final = "file"
ROW: Final = "row"
SOURCE_CAUSES: Final = frozenset({FILE, ROW})  # fires of these causes wait for room; they are never skipped
LOSSLESS: Final = ("allow", "buffer_all")  # the policies that skip nothing of a source
WAITING_MAX: Final = 50  # items of a source that wait in its schedule's inbox; further ones wait at the source
_EVERY_MS_MIN: Final = 1_000
_EVERY_MS_MAX: Final = 86_400_000
_SETTLE_MS_MAX: Final = 3_600_000

Every = Annotated[int, BeforeValidator(duration_ms), duration_schema(_EVERY_MS_MIN, _EVERY_MS_MAX)]
Settle = Annotated[int, BeforeValidator(duration_ms), duration_schema(0, _SETTLE_MS_MAX)]


class Model(BaseModel):
    """The base of a schedule's parts."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True, str_max_length=16_384)


class Files(Model):
    """The files of a folder or of a bucket."""

    folder: str = Field("", max_length=1024, examples=["inbox"])
    """A folder inside the worker's `AGENTFLOW_FILE_ROOTS`, absolute or relative to the first of them."""

    bucket: str = Field("", max_length=256, examples=["s3://invoices"])
    """A bucket instead of a folder: `name`, `s3://name` or `file://name`."""

    pattern: str = Field("*", max_length=patterns.PATTERN_CHARS_MAX, examples=["**/*.pdf"])
    """The files: `*.md` at the top, `**/*.md` at any depth, `reports/*.md` in one folder."""

    settle_ms: Settle = Field(
        5_000, ge=0, le=_SETTLE_MS_MAX, validation_alias=AliasChoices("settle_ms", "settle"), examples=["30s"]
    )
    """A file is taken once it has not changed for this long, so that none is taken half written."""

    every_ms: Every = Field(
        5_000,
        ge=_EVERY_MS_MIN,
        le=_EVERY_MS_MAX,
        validation_alias=AliasChoices("every_ms", "every"),
        examples=["1m"],
    )
    """The time between two looks."""

    existing: Literal["skip", "take"] = "skip"
    """Whether the files that are older than the schedule start runs too."""

    @model_validator(mode="after")
    def _whole(self) -> Files:
        if bool(self.folder) == bool(self.bucket):
            raise ValueError("it names a folder and a bucket, or neither: give one of the two")
        return self


class Rows(Model):
    """The rows of a table of PostgreSQL."""

    database: str = Field(max_length=64, pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["shop"])
    """The name of a database in the worker's `AGENTFLOW_TRIGGER_DATABASES`, which has its address and password."""

    table: str = Field(max_length=130, examples=["public.orders"])
    """The table, with or without its schema, spelt as the database spells it."""

    key: str = Field("id", max_length=63)
    """The column that tells the rows of one transaction apart, for example the primary key."""

    position: str = Field("txid", max_length=63)
    """The column with the transaction that wrote the row: `xid8 NOT NULL DEFAULT pg_current_xact_id()`."""

    notify: str = Field("", max_length=63, examples=["orders"])
    """A channel of `NOTIFY` that wakes the schedule at once. Nothing gets lost without it."""

    every_ms: Every = Field(
        5_000,
        ge=_EVERY_MS_MIN,
        le=_EVERY_MS_MAX,
        validation_alias=AliasChoices("every_ms", "every"),
        examples=["30s"],
    )
    """The time between two looks."""

    existing: Literal["skip", "take"] = "skip"
    """Whether the rows that were there before the first look start runs too."""


def table_names(table: str) -> list[str]:
    """Returns the names of the schema, if there is one, and of the table. Raises ValueError if it is not a table."""
    names = table.split(".")
    if len(names) > 2 or any(not name or len(name.encode()) > 63 or "\x00" in name for name in names):
        raise ValueError(f"{table[:80]!r} is not a table: write for example orders or public.orders")
    return names


def check_one_place(files: Files | None) -> None:
    """Raises ValueError if a schedule that watches rows watches files too."""
    if files is not None:
        raise ValueError("it watches files and rows: make a schedule for each of them")


def check_pattern(pattern: str) -> None:
    """Raises ValueError if it is not a pattern of paths."""
    try:
        patterns.parts_of(pattern)
    except ValueError as error:
        raise ValueError(f"{str(error).replace(': ', ', ')}: write for example *.md or **/*.md") from None


def check_overlap(overlap: str) -> None:
    """Raises ValueError if the policy skips fires, so that items of a source would get lost."""
    if overlap not in LOSSLESS:
        raise ValueError(
            f"{overlap!r} would lose what comes while a run goes on: write `overlap: allow` (runs at the same time) "
            "or `overlap: buffer_all` (one after the other)"
        )


def kind_of(spec: Mapping[str, Any]) -> str:
    """Returns the kind of the source that a canonical spec watches, or an empty text."""
    trigger = spec.get("trigger", {})
    return FILE if "files" in trigger else ROW if "rows" in trigger else ""


def source_id(uid: str, spec: Mapping[str, Any]) -> str:
    """Returns the id of a schedule's source. A schedule that watches another place begins anew there."""
    place = {
        name: {key: value for key, value in watched.items() if key not in {"every_ms", "settle_ms", "notify"}}
        for name, watched in sorted(spec.get("trigger", {}).items())
        if name in {"files", "rows"}
    }
    return ids.digest(msgspec.json.encode([uid, place], order="sorted"))[:32]


def item_id(path: str) -> str:
    """Returns the key by which a source remembers an item, whatever its version."""
    return ids.digest(path.encode("utf-8", "surrogateescape"))[:32]


def trigger_id(path: str, version: str) -> str:
    """Returns the id of the trigger for one version of an item. The same version is one trigger."""
    return ids.digest(f"{path}\x00{version}".encode("utf-8", "surrogateescape"))[:32]
