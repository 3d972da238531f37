"""Laws of reading a provider's stream: where its pieces are cut changes nothing, and no text comes out broken."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentflow_worker.providers.reading import Events
from agentflow_worker.providers.surrogates import Joiner, repaired

texts = st.text(st.characters(exclude_categories=()), max_size=30)  # halves of characters too
cuts = st.lists(st.integers(0, 400), max_size=12)
lines = st.sampled_from(
    [b"data: {}", b"data:{}", b"data: a\xc3\xa9", b": ping", b"event: x", b"id: 1", b"", b"retry: 5"]
)


def pieces(whole: Any, places: list[int]) -> list[Any]:
    marks = [0, *sorted(min(place, len(whole)) for place in places), len(whole)]
    return [whole[a:b] for a, b in itertools.pairwise(marks)]


@given(texts, cuts)
def test_llm_10_pairs_are_joined_wherever_a_text_is_cut(text: str, places: list[int]) -> None:
    joiner = Joiner()
    read = "".join([*map(joiner.push, pieces(text, places)), joiner.end()])
    assert read == repaired(text)
    assert read.encode().decode() == read
    assert repaired(read) == read
    surrogates = [character for character in text if "\ud800" <= character <= "\udfff"]
    if not surrogates:
        assert read == text


@given(st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n"])), max_size=12), st.booleans(), cuts)
def test_llm_01_events_are_the_same_wherever_a_stream_is_cut(
    made: list[tuple[bytes, bytes]], ended: bool, places: list[int]
) -> None:
    stream = b"".join(line + end for line, end in made) + (b"" if ended else b"data: last")

    def read(parts: list[bytes]) -> tuple[list[bytes], bytes]:
        found: list[bytes] = []
        events = Events(found.append)
        return found, b"".join([*map(events.feed, parts), events.end()])

    whole, passed = read([stream])
    assert read(pieces(stream, places)) == (whole, passed)
    assert all(data for data in whole)
    assert b": ping" not in passed
    assert len(passed) == len(stream) - sum(len(line + end) for line, end in made if line == b": ping")
