"""Whole columns in ClickHouse's Native format: what the engine reads is what was given, for any values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentflow_common.connections import native

KINDS: dict[str, st.SearchStrategy[Any]] = {
    "String": st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    "Bool": st.booleans(),
    "UInt8": st.integers(0, 255),
    "UInt32": st.integers(0, 2**32 - 1),
    "UInt64": st.integers(0, 2**64 - 1),
    "Int64": st.integers(-(2**63), 2**63 - 1),
    "Float64": st.floats(allow_nan=False),
    "DateTime64(3, 'UTC')": st.integers(0, 9_000_000_000_000),
    "Array(String)": st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4),
    "Array(UInt64)": st.lists(st.integers(0, 2**64 - 1), max_size=4),
    "Map(String, UInt64)": st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), max_size=4),
    "Map(String, String)": st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["", "x", "é"]), max_size=4),
}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    import clickhouse_connect

    client = clickhouse_connect.get_client(interface="chdb")
    yield client
    client.close()


@given(values=st.lists(st.tuples(*KINDS.values()), min_size=1, max_size=20))
def test_the_engine_reads_what_was_given(
    client: Any, tmp_path_factory: pytest.TempPathFactory, values: list[Any]
) -> None:
    columns = {f"c{number}": kind for number, kind in enumerate(KINDS)}
    file = Path(tmp_path_factory.getbasetemp()) / "block.native"
    file.write_bytes(native.block(columns, list(zip(*values, strict=True))))
    shown = ", ".join(f"toUnixTimestamp64Milli({name})" if "Date" in kind else name for name, kind in columns.items())
    found = client.query(f"SELECT {shown} FROM file('{file}', 'Native')").result_rows
    assert [tuple(row) for row in found] == [tuple(row) for row in values]


@given(st.lists(st.sampled_from(["", "a", "é" * 70, "long" * 40]), min_size=1, max_size=2 * native.SAMPLE))
def test_strings_that_repeat_are_those_that_do_not(texts: list[str]) -> None:
    singly = b"".join(native.varint(len(text.encode())) + text.encode() for text in texts)
    assert native.encoder("String")(texts) == singly


def test_what_a_type_cant_hold_is_refused() -> None:
    for kind, value in {"UInt32": 2**32, "UInt64": -1, "Int64": 2**63, "UInt8": 256}.items():
        with pytest.raises((OverflowError, ValueError)):
            native.block({"a": kind}, [[value]])
    with pytest.raises(ValueError, match="no encoder of Decimal"):
        native.block({"a": "Decimal(9, 2)"}, [[1]])
    with pytest.raises(ValueError, match="column b has 1 values, and the first one 2"):
        native.block({"a": "UInt8", "b": "UInt8"}, [[1, 2], [1]])
    assert native.varint(300) == b"\xac\x02"
    assert native.encoder("String")(["\ud800"]) == b"\x06\\ud800"
