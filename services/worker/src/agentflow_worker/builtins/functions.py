"""The built-in functions. They compute, touch nothing, and give the same output for the same input.

All are asynchronous so that small inputs run on the loop; large texts go to a thread.
"""

from __future__ import annotations

import functools
import re
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import Field

from agentflow_common.errors import InvalidError
from agentflow_worker.invoke import offload
from agentflow_worker.registry import function

CHUNKS_MAX: Final = 10_000
_THREAD_CHARS_MIN: Final = 100_000
_PARAGRAPH: Final = re.compile(r"\n\s*\n+")
_SENTENCE: Final = re.compile(r"(?<=[.!?…])\s+")

Positive = Annotated[int, Field(ge=1)]
Text = str | dict[str, Any]  # a text, or an object that has one


# --- texts ---


@function("text_splitter")
async def text_splitter(
    text: Text,
    chunk_size: Positive = 1000,
    overlap: Annotated[int, Field(ge=0)] = 0,
    by: Literal["paragraphs", "sentences", "characters"] = "paragraphs",
) -> dict[str, Any]:
    """Splits a text into chunks of at most `chunk_size` characters, at paragraph or sentence ends
    where they fit. An object that has a text, such as a file's or a model's output, may take the place of the text.

    overlap: characters at a chunk's start that repeat the end of the one before (whole sentences
    for `sentences`). Returns {"chunks": [str], "count": n}. An empty text gives no chunk.
    """
    if overlap >= chunk_size:
        raise InvalidError(f"overlap ({overlap}) must be less than chunk_size ({chunk_size})", kind="invalid_arguments")
    plain = _plain(text)
    split = functools.partial(split_text, plain, chunk_size, overlap, by)
    chunks: list[str] = split() if len(plain) < _THREAD_CHARS_MIN else await offload(split)
    if len(chunks) > CHUNKS_MAX:
        raise InvalidError(
            f"{len(chunks):,} chunks, the limit is {CHUNKS_MAX:,}: raise chunk_size", kind="too_many_chunks"
        )
    return {"chunks": chunks, "count": len(chunks)}


def split_text(text: str, chunk_size: int, overlap: int = 0, by: str = "paragraphs") -> list[str]:
    """Returns the chunks; see `text_splitter`."""
    body_max = chunk_size - overlap
    pieces: list[tuple[str, str]] = []  # (separator before it, piece), each piece at most body_max long
    for number, paragraph in enumerate(_PARAGRAPH.split(text.strip()) if by == "paragraphs" else [text.strip()]):
        gap = "\n\n" if number else ""
        if by == "paragraphs" and len(paragraph) <= body_max:
            pieces.append((gap, paragraph))
        elif by == "characters":
            pieces.extend(("", paragraph[i : i + body_max]) for i in range(0, len(paragraph), body_max))
        else:
            for index, sentence in enumerate(_SENTENCE.split(paragraph)):
                pieces.extend(_fit(sentence, body_max, " " if index else gap))
    chunks: list[str] = []
    chunk = ""
    for gap, piece in pieces:
        if not piece:
            continue
        if chunk and len(chunk) + len(gap) + len(piece) > body_max:
            chunks.append(chunk)
            chunk = piece
        else:
            chunk = chunk + gap + piece if chunk else piece
    if chunk:
        chunks.append(chunk)
    if not overlap:
        return chunks
    return [chunk if i == 0 else _tail(chunks[i - 1], overlap, by) + chunk for i, chunk in enumerate(chunks)]


def _fit(sentence: str, most: int, gap: str) -> list[tuple[str, str]]:
    """Breaks a sentence that is too long at spaces, and a word that is too long anywhere."""
    if len(sentence) <= most:
        return [(gap, sentence)]
    parts: list[tuple[str, str]] = []
    while len(sentence) > most:
        cut = sentence.rfind(" ", most // 2, most + 1)
        cut = cut if cut > 0 else most
        parts.append((gap, sentence[:cut].rstrip()))
        sentence, gap = sentence[cut:].lstrip(), " "
    if sentence:
        parts.append((gap, sentence))
    return parts


def _tail(previous: str, overlap: int, by: str) -> str:
    """Returns the end of a chunk, from a word's start, with the separator to the next chunk."""
    if by == "characters":
        return previous[-overlap:]
    tail = previous[-(overlap - 1) :] if overlap > 1 else ""
    if len(tail) < len(previous) and not previous[-len(tail) - 1 : -len(tail) or None].isspace():
        tail = tail.partition(" ")[2]
    return tail + " " if tail else ""


@function("text_join")
async def text_join(items: list[Any], separator: str = "\n\n", field: str = "text") -> dict[str, Any]:
    """Joins strings, or the named field of objects, leaving out what is null.

    Returns {"text", "count"}.
    """
    parts = [str(_text_of(item, field)) for item in items if _text_of(item, field) not in (None, "")]
    return {"text": separator.join(parts), "count": len(parts)}


@function("text_stats")
async def text_stats(text: Text) -> dict[str, Any]:
    """Measures a text, or that of an object.

    Returns {"characters", "words", "sentences", "lines", "average_sentence_words"}.
    """
    text = _plain(text)
    words = len(text.split())
    sentences = len([part for part in _SENTENCE.split(text.strip()) if part])
    return {
        "characters": len(text),
        "words": words,
        "sentences": sentences,
        "lines": len(text.splitlines()),
        "average_sentence_words": round(words / sentences, 2) if sentences else 0.0,
    }


# --- results ---


@function("result_merger", branches="results")
async def result_merger(
    results: list[Any] | dict[str, Any] | None = None,
    strategy: Literal["auto", "deep", "concat", "first", "priority"] = "auto",
    priority: list[str] | None = None,
    **branches: Any,
) -> Any:
    """Merges the outputs of branches into one; a skipped branch is `null` and counts as absent.

    Give `results` as a list, or each branch as an argument of its own. `auto`: objects merge field
    by field (lists concatenate, the later scalar wins), lists concatenate, texts join; with mixed
    kinds the items stay a list. `first`: the first branch that is there. `priority`: objects merge
    field by field, and the branch with the higher priority wins; other kinds: the branch with the
    highest priority. The branches of `priority` come first, in its order, and the others follow by
    name. Returns {"merged", "count", "sources"?}, with `text` if the merged value is or has one.
    """
    named = {**(results if isinstance(results, dict) else {}), **branches}
    if strategy == "priority":
        first = dict.fromkeys(name for name in priority or () if name in named)
        named = {name: named[name] for name in (*first, *sorted(named.keys() - first.keys()))}
    items = [*(results if isinstance(results, list) else []), *named.values()]
    present = [item for item in items if item is not None]
    merged = _merge(present, strategy)
    output: dict[str, Any] = {"merged": merged, "count": len(present)}
    if named:
        output["sources"] = [name for name, value in named.items() if value is not None]
    text = merged if isinstance(merged, str) else merged.get("text") if isinstance(merged, dict) else None
    if isinstance(merged, list) and merged and all(_text_of(item) is not None for item in merged):
        text = "\n\n".join(str(_text_of(item)) for item in merged)
    if isinstance(text, str):
        output["text"] = text
    return output


def _merge(present: list[Any], strategy: str) -> Any:
    if not present:
        return None
    objects = all(isinstance(item, dict) for item in present)
    if strategy == "priority" and objects:
        return functools.reduce(_filled, present)
    if strategy in {"first", "priority"}:
        return present[0]
    if strategy == "concat":
        return [part for item in present for part in (item if isinstance(item, list) else [item])]
    merged: Any = present
    if objects:
        merged = functools.reduce(deep_merge, present)
    elif all(isinstance(item, list) for item in present):
        merged = [part for item in present for part in item]
    elif all(isinstance(item, str) for item in present):
        merged = "\n\n".join(present)
    return merged


def deep_merge(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Merges field by field: lists concatenate, the later scalar wins, null never overwrites."""
    merged = dict(a)
    for key, value in b.items():
        mine = merged.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            merged[key] = deep_merge(mine, value)
        elif isinstance(mine, list) and isinstance(value, list):
            merged[key] = mine + value
        elif key == "text" and isinstance(mine, str) and isinstance(value, str) and mine != value:
            merged[key] = f"{mine}\n\n{value}"
        elif value is not None or key not in merged:
            merged[key] = value
    return merged


def _filled(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Returns `a` with the fields of `b` that it lacks, or that are null in it."""
    return {**b, **{key: value for key, value in a.items() if value is not None or key not in b}}


@function("result_combiner", branches="results")
async def result_combiner(
    results: list[Any] | dict[str, Any] | None = None,
    order: list[str] | None = None,
    keys: list[str] | None = None,
    separator: str = "\n\n",
    headings: bool = False,
    format: Literal["text", "json"] = "text",  # noqa: A002  (the name that definitions use)
    **branches: Any,
) -> dict[str, Any]:
    """Puts branch outputs side by side in a known order; skipped branches (null) are left out and
    named.

    order: branch names, first to last (default: as given). keys: fields to keep of each object.
    headings: writes the branch's name above its text. format: `json` makes `text` the results as
    JSON. Returns {"results": {name: value}, "text": joined texts, "count", "skipped": [names]}.
    """
    named = {**_named(results), **branches}
    names = [name for name in (order or []) if name in named] + [name for name in named if name not in (order or [])]
    kept: dict[str, Any] = {}
    texts: list[str] = []
    for name in names:
        value = named[name]
        if value is None:
            continue
        text = _text_of(value)
        if text is not None:
            texts.append(f"{name}:\n{text}" if headings else str(text))
        kept[name] = {key: value[key] for key in keys if key in value} if keys and isinstance(value, dict) else value
    skipped = [name for name in names if named[name] is None]
    joined = separator.join(texts) if format == "text" else msgspec.json.encode(kept).decode()
    return {"results": kept, "text": joined, "count": len(kept), "skipped": skipped}


@function("priority_merge")
async def priority_merge(
    priority: list[str] | None = None, results: dict[str, Any] | None = None, **branches: Any
) -> dict[str, Any]:
    """Takes the first branch of `priority` that is not null.

    Returns {"result", "source", "text"?}; source is null if there is none.
    """
    named = {**(results or {}), **branches}
    for name in [*(priority or []), *named]:
        if named.get(name) is not None:
            output = {"result": named[name], "source": name}
            text = _text_of(named[name])
            return {**output, "text": text} if text is not None else output
    return {"result": None, "source": None}


# --- decisions ---


@function("complexity_router")
async def complexity_router(text: Text, threshold: Annotated[float, Field(ge=0, le=1)] = 0.8) -> dict[str, Any]:
    """Scores how hard a text is (0..1) and names the route: `complex` from the threshold on, else
    `simple`.

    The score grows with length, sentence length, long words and the variety of words. An object that
    has a text may take the place of the text. Returns {"complexity": the score, "score", "route",
    "complex": bool, "threshold", "factors"}.
    """
    text = _plain(text)
    words = re.findall(r"[^\W\d_]+", text.lower())
    sentences = [part for part in _SENTENCE.split(text.strip()) if part]
    n = len(words) or 1
    factors = {
        "length": min(1.0, len(words) / 1200),
        "sentence_length": min(1.0, (len(words) / len(sentences) if sentences else 0) / 28),
        "long_words": min(1.0, sum(len(word) >= 8 for word in words) / n / 0.25),
        "variety": min(1.0, len(set(words)) / min(n, 400) / 0.5) if words else 0.0,
    }
    weights = {"length": 0.35, "sentence_length": 0.25, "long_words": 0.25, "variety": 0.15}
    score = round(sum(weights[name] * value for name, value in factors.items()), 3)
    return {
        "complexity": score,
        "score": score,
        "route": "complex" if score >= threshold else "simple",
        "complex": score >= threshold,
        "threshold": threshold,
        "factors": {name: round(value, 3) for name, value in factors.items()},
    }


@function("language_list")
async def language_list(languages: list[str] | str, source: str = "") -> dict[str, Any]:
    """Lists the languages to translate into: codes without repetition, without the source language.

    Returns {"languages": [code], "skipped": [code], "count"}.
    """
    from agentflow_worker.providers.local.text import language_code

    asked = languages.split(",") if isinstance(languages, str) else languages
    codes = list(dict.fromkeys(language_code(name) for name in asked if name.strip()))
    origin = language_code(source) if source else ""
    wanted = [code for code in codes if code != origin]
    return {"languages": wanted, "skipped": [code for code in codes if code == origin], "count": len(wanted)}


@function("pick")
async def pick(value: Any, path: str = "", default: Any = None) -> Any:
    """Returns the part of a JSON value at a dotted path (`items.0.name`), or the default. Without a path: the value."""
    for part in path.split(".") if path else ():
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return default
    return value


def _named(results: list[Any] | dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(results, list):
        return {str(number): value for number, value in enumerate(results)}
    return results or {}


def _plain(text: Text) -> str:
    """Returns the text itself, or the one that an object has. Raises InvalidError if it has none."""
    found = _text_of(text)
    if isinstance(found, str):
        return found
    raise InvalidError(
        "the argument `text` is an object without a text: name the field that has it", kind="invalid_arguments"
    )


def _text_of(value: Any, field: str = "text") -> Any:
    """Returns the readable text of a step's output: itself, or the first of its text fields."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for key in (field, "text", "summary", "translation", "content", "answer"):
            if isinstance(value.get(key), str):
                return value[key]
    return None
