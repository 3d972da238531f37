"""The built-in functions, called as a worker calls them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentflow_common.errors import InvalidError
from agentflow_worker.builtins.functions import split_text
from agentflow_worker.context import StepContext
from agentflow_worker.invoke import invoke
from agentflow_worker.registry import default_registry
from agentflow_worker.settings import WorkerSettings

REGISTRY = default_registry()


async def call(name: str, **args: Any) -> Any:
    return await invoke(REGISTRY.get("function", name), args, StepContext("o", "r", "s", 1, WorkerSettings()))


async def test_text_splitter_keeps_paragraphs_whole_where_they_fit() -> None:
    text = "One one one.\n\nTwo two two.\n\n" + "Three is long. " * 10
    made = await call("text_splitter", text=text, chunk_size=40)
    assert made["chunks"][0] == "One one one.\n\nTwo two two."
    assert made["count"] == len(made["chunks"]) > 3
    assert all(len(chunk) <= 40 for chunk in made["chunks"])
    assert (await call("text_splitter", text="  "))["chunks"] == []


@given(
    st.text(alphabet="ab .!\n", max_size=300),
    st.integers(5, 60),
    st.integers(0, 4),
    st.sampled_from(["paragraphs", "sentences", "characters"]),
)
def test_no_chunk_is_too_long_and_no_word_is_lost(text: str, size: int, overlap: int, by: str) -> None:
    chunks = split_text(text, size, overlap, by)
    assert all(0 < len(chunk) <= size for chunk in chunks)
    plain = split_text(text, size, 0, by)
    assert "".join("".join(plain).split()) == "".join(text.split())


async def test_overlap_repeats_the_end_and_must_be_smaller_than_the_chunk() -> None:
    chunks = (await call("text_splitter", text="alpha beta gamma delta epsilon", chunk_size=18, overlap=7))["chunks"]
    assert chunks[1].split()[0] in chunks[0].split()
    with pytest.raises(InvalidError, match="must be less than chunk_size"):
        await call("text_splitter", text="x", chunk_size=5, overlap=5)


async def test_result_merger_ignores_skipped_branches() -> None:
    made = await call("result_merger", text={"summary": "S", "tags": ["a"]}, image=None, more={"tags": ["b"], "n": 1})
    assert made["merged"] == {"summary": "S", "tags": ["a", "b"], "n": 1}
    assert (made["count"], made["sources"]) == (2, ["text", "more"])
    assert (await call("result_merger", results=[{"text": "a"}, None, {"text": "b"}]))["text"] == "a\n\nb"
    assert await call("result_merger", results=[None]) == {"merged": None, "count": 0}
    assert (await call("result_merger", results=[[1], [2]]))["merged"] == [1, 2]


async def test_result_merger_by_priority_lets_the_first_branch_win_field_by_field() -> None:
    branches = {"simple": {"text": "s", "model": None}, "complex": None, "routing": {"model": "m", "text": "r"}}
    made = await call("result_merger", strategy="priority", **branches)
    assert (made["merged"], made["text"]) == ({"text": "r", "model": "m"}, "r")  # by name
    made = await call("result_merger", strategy="priority", priority=["complex", "simple", "absent"], **branches)
    assert (made["merged"], made["sources"]) == ({"text": "s", "model": "m"}, ["simple", "routing"])
    mixed = await call("result_merger", strategy="priority", results={"b": {"x": 1}, "a": "text"})
    assert (mixed["merged"], mixed["count"]) == ("text", 2)


async def test_result_combiner_as_json() -> None:
    made = await call("result_combiner", format="json", english={"text": "Hello"}, spanish=None)
    assert (made["text"], made["skipped"]) == ('{"english":{"text":"Hello"}}', ["spanish"])


async def test_an_object_that_has_a_text_is_taken_for_the_text() -> None:
    assert (await call("text_splitter", text={"text": "a b"}))["chunks"] == ["a b"]
    assert (await call("text_stats", text={"summary": "a b"}))["words"] == 2
    plain = await call("complexity_router", text="One two three.", threshold=0.5)
    assert await call("complexity_router", text={"content": "One two three."}, threshold=0.5) == plain
    assert plain["complexity"] == plain["score"]
    with pytest.raises(InvalidError, match="an object without a text"):
        await call("text_stats", text={"pages": 3})


async def test_result_combiner_orders_and_names_what_was_skipped() -> None:
    made = await call(
        "result_combiner",
        fr={"text": "Bonjour", "x": 1},
        es=None,
        de={"text": "Hallo"},
        order=["de", "es", "fr"],
        keys=["text"],
    )
    assert list(made["results"].items()) == [("de", {"text": "Hallo"}), ("fr", {"text": "Bonjour"})]
    assert (made["text"], made["skipped"], made["count"]) == ("Hallo\n\nBonjour", ["es"], 2)


async def test_priority_merge_takes_the_first_that_is_there() -> None:
    made = await call("priority_merge", priority=["gold", "bronze"], bronze={"text": "b"}, gold=None)
    assert made == {"result": {"text": "b"}, "source": "bronze", "text": "b"}
    assert await call("priority_merge", gold=None) == {"result": None, "source": None}


async def test_complexity_router_tells_a_note_from_a_treatise() -> None:
    note = await call("complexity_router", text="Please call me back. Thanks.")
    assert (note["route"], note["complex"]) == ("simple", False)
    sentence = (
        "Notwithstanding jurisdictional considerations, contractual indemnification provisions presuppose {} "
        "comprehensive documentation, reconciling counterparty obligations with proportionate remediation measures "
        "whenever extraordinary circumstances materially compromise performance expectations. "
    )
    hard = await call("complexity_router", text="".join(sentence.format(f"term{n}x") for n in range(60)))
    assert (hard["route"], hard["score"] >= 0.8) == ("complex", True)


async def test_language_list_skips_the_source() -> None:
    made = await call("language_list", languages=["Spanish", "fr", "de-AT", "es"], source="fr")
    assert made == {"languages": ["es", "de"], "skipped": ["fr"], "count": 2}
