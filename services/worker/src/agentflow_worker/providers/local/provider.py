"""The offline provider: finds the task of a request and the text to work on, and shapes the answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

from agentflow_worker.providers.local import classify as c
from agentflow_worker.providers.local import entities as e
from agentflow_worker.providers.local import summary as s
from agentflow_worker.providers.local import text as t
from agentflow_worker.providers.local import translate as tr
from agentflow_worker.providers.port import Completion, CompletionRequest, OnToken, ProviderError
from agentflow_worker.tools.documents import html_to_text

MODELS: Final = ("extractive-1", "extractive-pro")
_INLINE_CHARS_MAX: Final = 8_000  # more is worth a thread: the loop stays free
_CONTENT: Final = "content text document passage body article summary input data message code context"
_CONTENT_KEYS: Final = tuple(_CONTENT.split())
_SIDE: Final = """
    labels categories types classes question query target_language target language source_language lang languages focus
    max_words max_keywords max_sentences sentences style tone audience format instruction instructions threshold title
    name
"""
_PAGE: Final = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype html|html|body|article|main)\b", re.I | re.S
)
_SIDE_KEYS: Final = frozenset(_SIDE.split())
_SIGNS: Final = (
    ("moderate", r"\bmoderat|\bharmful|\bpolicy violation"),
    ("classify", r"\bclassif|\bcategori[sz]e|\bwhich (?:type|category|label)"),
    ("detect_language", r"\b(?:detect|identify)\b.{0,20}\blanguage|\bwhat language"),
    ("translate", r"\btranslat"),
    ("entities", r"\bentit(?:y|ies)\b"),
    ("keywords", r"\bkey ?words?\b|\bkey ?phrases?\b"),
    ("answer", r"\banswer\b.{0,40}\bquestion|^\s*question:"),
    ("summarize", r"\bsummar|\banaly[sz]e|\btl;?dr"),
)


class LocalProvider:
    """Reads `request.inputs` and `request.task`; the rendered prose only where these are silent."""

    name = "local"

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        if request.model not in MODELS:
            raise ProviderError(
                "not_found", f"local: no model {request.model!r}; there are {', '.join(MODELS)}", retryable=False
            )
        if len(request.text) > _INLINE_CHARS_MAX:
            text, data = await asyncio.to_thread(answer, request)
        else:
            text, data = answer(request)
        text, finish = _limit(text, request.so_far, request.max_output_tokens)
        for piece in re.findall(r"\S+\s*", text):
            on_token(piece)
        read = _tokens(request.system) + _tokens(request.text)
        return Completion(text, max(1, read), max(1, _tokens(text)), finish, data)

    async def close(self) -> None:
        """Has nothing to close."""


def answer(request: CompletionRequest) -> tuple[str, dict[str, Any]]:
    """Returns (text, structured fields) for a request. Pure."""
    task = task_of(request)
    content = content_of(request)
    return TASKS[task](content, request)


def task_of(request: CompletionRequest) -> str:
    """Returns the prompt's task hint, or the task that its first lines ask for; a summary by default."""
    hint = _ALIASES.get(request.task.strip().lower().replace("-", "_").replace(" ", "_"))
    if hint:
        return hint
    opening = f"{request.system}\n{request.text}"[:600]
    return next((task for task, sign in _SIGNS if re.search(sign, opening, re.I | re.M)), "summarize")


def content_of(request: CompletionRequest) -> str:
    """Returns the text to work on.

    It is the input named like content, else all inputs that are not parameters, else the prompt.
    """
    inputs = request.inputs
    for key in _CONTENT_KEYS:
        if inputs.get(key):
            return _readable(_flatten(inputs[key]))
    rest = [_flatten(value) for key, value in inputs.items() if key not in _SIDE_KEYS]
    joined = "\n\n".join(part for part in rest if part)
    return _readable(joined) or request.text


def _readable(text: str) -> str:
    """Returns the text of a page in HTML; any other text unchanged."""
    return html_to_text(text)[1] if _PAGE.match(text) else text


def _flatten(value: Any) -> str:
    """Returns the strings of any JSON value; of an object with a content key only the string under
    that key.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for key in _CONTENT_KEYS:
            if isinstance(value.get(key), str) and value[key]:
                return str(value[key])
        return "\n".join(filter(None, (_flatten(item) for item in value.values())))
    if isinstance(value, list | tuple):
        return "\n\n".join(filter(None, (_flatten(item) for item in value)))
    return "" if value is None or isinstance(value, bool) else str(value)


def _limit(text: str, so_far: str, tokens_max: int) -> tuple[str, str]:
    """Returns the text that follows `so_far`, within the limit, and how it ends."""
    pieces = re.findall(r"\S+\s*", text)[len(so_far.split()) :]
    kept = int(tokens_max / 1.3)
    return "".join(pieces[:kept]), "stop" if len(pieces) <= kept else "length"


def _tokens(text: str) -> int:
    """Counts words and a third, the usual ratio: the unit of the local models."""
    return round(len(text.split()) * 1.3)


def _number(request: CompletionRequest, key: str) -> int | None:
    value = request.inputs.get(key)
    try:
        return max(1, int(value)) if value is not None else None
    except (TypeError, ValueError):
        return None


def _labels(request: CompletionRequest) -> list[str]:
    for key in ("labels", "categories", "types", "classes"):
        value = request.inputs.get(key)
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if isinstance(value, list) and len(value) >= 2:
            return [str(item) for item in value]
    return c.labels_in(f"{request.system}\n{request.text[:2000]}")


def _summarize(content: str, request: CompletionRequest) -> tuple[str, dict[str, Any]]:
    pro = request.model == "extractive-pro"
    # two models, two lengths: the better one may say more about a longer text
    found = len(t.sentences(content))
    most = _number(request, "max_sentences") or min(8 if pro else 5, max(2, round(found / (5 if pro else 7))))
    focus = str(request.inputs.get("focus") or "")
    max_words = _number(request, "max_words")
    chars = max_words * 6 if max_words else min(request.max_output_tokens * 4, 2_400)
    made = s.summarize(content, sentences_max=most, chars_max=chars, pro=pro, focus=focus)
    language, _ = t.detect_language(content)
    data: dict[str, Any] = {
        "summary": made["summary"],
        "keywords": s.keywords(content, 10 if pro else 6),
        "language": language,
        "sentences": found,
        "words": len(content.split()),
        "coverage": made["coverage"],
    }
    if pro:
        data["highlights"] = made["sentences"]
        data["sections"] = t.headings(content)[:20]
    return made["summary"], data


def _keywords(content: str, request: CompletionRequest) -> tuple[str, dict[str, Any]]:
    most = _number(request, "max_keywords") or (15 if request.model == "extractive-pro" else 8)
    found = s.keywords(content, min(most, 100))
    return ", ".join(found), {"keywords": found}


def _entities(content: str, _request: CompletionRequest) -> tuple[str, dict[str, Any]]:
    data = e.entities(content)
    lines = [f"{kind}: {', '.join(data[kind])}" for kind in ("names", "dates", "amounts") if data[kind]]
    hidden = ", ".join(f"{item['count']} {item['kind']}" for item in data["protected"])
    return "\n".join([*lines, *([f"protected: {hidden}"] if hidden else [])]) or "nothing found", data


def _classify(content: str, request: CompletionRequest) -> tuple[str, dict[str, Any]]:
    data = c.classify(content, _labels(request))
    return data["label"], data


def _moderate(content: str, _request: CompletionRequest) -> tuple[str, dict[str, Any]]:
    data = c.moderate(content)
    found = ", ".join(f"{name} {score}" for name, score in data["categories"].items()) or "nothing found"
    return f"{data['decision']}: {found}", data


def _language(content: str, _request: CompletionRequest) -> tuple[str, dict[str, Any]]:
    code, confidence = t.detect_language(content)
    data = {"language": code, "language_name": t.NAMES.get(code, "unknown"), "score": confidence}
    return code, data


def _translate(content: str, request: CompletionRequest) -> tuple[str, dict[str, Any]]:
    keys = ("target_language", "target", "to", "language")
    asked = next((request.inputs[key] for key in keys if request.inputs.get(key)), "")
    if not asked:
        match = re.search(r"\b(?:in)?to\s+([A-Z][a-z]+)\b", request.text[:600])
        asked = match.group(1) if match else "en"
    data = tr.translate(content, str(asked), str(request.inputs.get("source_language") or ""))
    target = t.NAMES.get(data["target_language"], data["target_language"])
    share = f"{data['coverage']:.0%}"
    notes = {
        "unchanged": "",
        "gloss": f"[{target}: word-by-word gloss made offline, {share} of the words; not a translation] ",
        "none": f"[{target}: no offline glossary for this language pair; the text is unchanged] ",
    }
    return notes[data["method"]] + data["translation"], data


def _answer(content: str, request: CompletionRequest) -> tuple[str, dict[str, Any]]:
    question = str(request.inputs.get("question") or request.inputs.get("query") or "")
    if not question:
        match = re.search(r"question:\s*(.+)", request.text, re.I)
        question = match.group(1) if match else request.text[:300]
    found = s.passages(content, question, 5 if request.model == "extractive-pro" else 3)
    if not found:
        return "The text does not answer this.", {"answer": "", "found": False, "passages": []}
    text = " ".join(item["text"] for item in sorted(found[:3], key=lambda item: item["position"]))
    return text, {"answer": found[0]["text"], "found": True, "passages": found}


Task = Callable[[str, CompletionRequest], tuple[str, dict[str, Any]]]
TASKS: Final[dict[str, Task]] = {
    "summarize": _summarize,
    "keywords": _keywords,
    "entities": _entities,
    "classify": _classify,
    "moderate": _moderate,
    "detect_language": _language,
    "translate": _translate,
    "answer": _answer,
}
_ALIASES: Final = {
    **{name: name for name in TASKS},
    "summarise": "summarize", "summary": "summarize", "analyze": "summarize", "analyse": "summarize",
    "analysis": "summarize", "refine": "summarize", "extract": "entities", "entity": "entities", "keyword": "keywords",
    "classification": "classify", "moderation": "moderate", "language": "detect_language",
    "translation": "translate", "qa": "answer", "question": "answer",
}  # fmt: skip
