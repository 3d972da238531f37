"""Encodes whole columns in ClickHouse's Native format: pure. The client's own encoder takes several times as long.

A block is the number of columns and of rows, then for each column its name, its type and its values
(https://clickhouse.com/docs/interfaces/formats/Native). Numbers are little-endian. A string has its length before it.
"""

from __future__ import annotations

import itertools
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Encode = Callable[[Sequence[Any]], bytes]
SAMPLE: Final = 256  # strings that are looked at to see whether a column repeats them


class _Lengths(dict[int, bytes]):
    """Lengths as LEB128, made once each."""

    def __missing__(self, length: int) -> bytes:
        found = varint(length)
        if length < 1 << 16:
            self[length] = found
        return found


class _Strings(dict[str, bytes]):
    """Encoded strings of one column."""

    def __missing__(self, text: str) -> bytes:
        data = text.encode("utf-8", "backslashreplace")
        found = self[text] = varint(len(data)) + data
        return found


_lengths: Final = _Lengths()


def varint(number: int) -> bytes:
    """Returns a number as LEB128."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _string(values: Sequence[str]) -> bytes:
    sample = values[:SAMPLE]
    if 2 * len(set(sample)) <= len(sample):
        known = _Strings()
        return b"".join([known[text] for text in values])
    data = [text.encode("utf-8", "backslashreplace") for text in values]
    return b"".join(itertools.chain.from_iterable(zip([_lengths[len(one)] for one in data], data, strict=True)))


def _number(code: str) -> Encode:
    def encode(values: Sequence[Any]) -> bytes:
        found = array(code, values)
        if sys.byteorder == "big":
            found.byteswap()
        return found.tobytes()

    return encode


def _counts(values: Sequence[Any]) -> bytes:
    """Returns where the items of each value end."""
    return _UINT64(list(itertools.accumulate(map(len, values))))


_UINT64: Final = _number("Q")
_INT64: Final = _number("q")
_PLAIN: Final[dict[str, Encode]] = {
    "String": _string,
    "Bool": bytes,
    "UInt8": bytes,
    "UInt32": _number("I"),
    "UInt64": _UINT64,
    "Int64": _INT64,
    "Float64": _number("d"),
    "DateTime64(3, 'UTC')": _INT64,  # ms since the epoch
}


def encoder(kind: str) -> Encode:
    """Returns the encoder of a type. Raises ValueError if this module has none."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    head, _, rest = kind.partition("(")
    parts = [_PLAIN.get(part) for part in rest.removesuffix(")").split(", ")]
    if head == "Array" and len(parts) == 1 and (item := parts[0]):
        return lambda values: _counts(values) + item(list(itertools.chain.from_iterable(values)))
    if head == "Map" and len(parts) == 2 and (key := parts[0]) and (value := parts[1]):
        return lambda values: (
            _counts(values)
            + key(list(itertools.chain.from_iterable(values)))
            + value([one for mapping in values for one in mapping.values()])
        )
    raise ValueError(f"no encoder of {kind}: add it to native.py")


def block(columns: Mapping[str, str], data: Sequence[Sequence[Any]]) -> bytes:
    """Returns columns (name -> type) with their values as one block.

    Raises OverflowError for a number that its type can't hold, and ValueError for columns of different lengths.
    """
    rows = len(data[0])
    parts = [varint(len(columns)), varint(rows)]
    for (name, kind), values in zip(columns.items(), data, strict=True):
        if len(values) != rows:
            raise ValueError(f"column {name} has {len(values)} values, and the first one {rows}")
        for text in (name, kind):
            parts += (varint(len(text)), text.encode())
        parts.append(encoder(kind)(values))
    return b"".join(parts)
