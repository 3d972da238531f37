"""Classification by the lexicons of `classify.toml`: the kind of a text, or the nearest of the
caller's labels.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any, Final

from agentflow_worker.providers.local import kinds
from agentflow_worker.providers.local import text as t
from agentflow_worker.providers.local.data import table

SAMPLE_CHARS: Final = 60_000
UNKNOWN: Final = "unknown"
DOUBT: Final = 2.1  # three common words that a text of any kind may use
_DATA: Final = table("classify")
_REST: Final = frozenset(_DATA["rest"]["labels"].split())
_SHAPES: Final[dict[str, list[tuple[str, float]]]] = _DATA["shapes"]
_LEXICON: Final[dict[str, str]] = _DATA["lexicon"]
_OFFER: Final = re.compile(
    r"(?:one of|labels?|categor(?:y|ies)|types?|classes|choose from|into|either)\b[^:\n\[(]{0,40}[:\[(]\s*"
    r"([A-Za-z][\w ,/|'\"-]{2,300})",
    re.I,
)


def labels_in(prompt: str) -> list[str]:
    """Returns the labels that a prompt offers: `Classify as one of: text, image or code` -> text,
    image, code.
    """
    match = _OFFER.search(prompt)
    if not match:
        return []
    parts = re.split(r"\s*(?:,|\||/|\bor\b|\band\b)\s*", match.group(1))
    found = [part.strip(" '\"-") for part in parts]
    found = [label for label in found if 0 < len(label) <= 40 and len(label.split()) <= 3]
    return list(dict.fromkeys(found)) if len(found) >= 2 else []


def classify(text: str, labels: list[str] | None = None) -> dict[str, Any]:
    """Returns {"label", "type": the same, "score": 0..1, "scores": by label}.

    Without labels the label is the kind of content; for text, "document" is the kind of document
    too. With labels, a text that fits none of them is `other` or the like, if that is one of the
    labels, else `unknown`.
    """
    plain = t.without_tokens(text)
    shapes = _shape_scores(plain)
    if not labels:
        raw = {label: 4 * score for label, score in shapes.items()}
        made = _chosen(raw, "text")
        return {**made, "document": kinds.document_of(plain[:SAMPLE_CHARS])[0]} if made["label"] == "text" else made
    topic = Counter(t.terms(plain, t.stopwords_of(t.detect_language(plain)[0])))
    rest = next((label for label in labels if label.strip().lower() in _REST), UNKNOWN)
    raw = {label: _strength(label, plain, topic, shapes) for label in labels if label != rest}
    return _chosen({**raw, rest: DOUBT}, rest)


def _strength(label: str, text: str, topic: Counter[str], shapes: dict[str, float]) -> float:
    """Returns how much speaks for a label. Up to DOUBT it may be chance."""
    name = label.strip().lower()
    if name in shapes:
        return 4 * shapes[name]
    asked = 4 * _questions(text) if name in ("question", "questions", "frage", "pregunta") else 0.0
    kind = kinds.kind_of(label)
    if kind:
        return asked + kinds.evidence(text[:SAMPLE_CHARS], kind)
    return asked + _lexicon_score(label, topic, sum(topic.values()) or 1)


def _chosen(raw: dict[str, float], rest: str) -> dict[str, Any]:
    """Returns the label that outweighs all others together, else the rest label.

    The power makes a clear winner score 0.8 or more.
    """
    weights = {label: max(score, 0.0) ** 3 for label, score in raw.items()}
    whole = sum(weights.values()) or 1.0
    scores = {label: round(weight / whole, 3) for label, weight in weights.items()}
    best = max(raw, key=lambda label: raw[label])
    label = best if weights[best] > 0.5 * whole else rest
    return {"label": label, "type": label, "score": scores[label], "scores": scores}


def _questions(text: str) -> float:
    """Returns the share of sentences that are questions."""
    found = t.sentences(text[:SAMPLE_CHARS])
    return sum(sentence.rstrip("\"'”» )").endswith(("?", "\uff1f")) for sentence in found) / (len(found) or 1)


def _shape_scores(text: str) -> dict[str, float]:
    sample = text[:20_000]
    lines = [line for line in sample.splitlines() if line.strip()] or [""]
    scores = {}
    for label, patterns in _SHAPES.items():
        hits = sum(weight * len(re.findall(pattern, sample, re.M | re.I)) for pattern, weight in patterns)
        scores[label] = min(1.0, hits / len(lines))
    prose = sum(len(t.words(sentence)) >= 5 for sentence in t.sentences(sample))
    plain = min(1.0, 0.35 + prose / len(lines)) if t.words(sample) else 0.1
    return {"text": plain * (1 - 0.7 * max(scores.values())), **scores}


def _lexicon_score(label: str, topic: Counter[str], total: int) -> float:
    """Returns a score of the words of the label and of its lexicon, lower if they are few for the
    text's length.
    """
    own = {t.stem(word) for word in re.findall(r"[^\W\d_]+", label.lower())}
    terms = {t.stem(word) for name in _lexicon_names(label) for word in _LEXICON[name].split()} - own
    hits = {term: topic[term] for term in terms if topic[term]}
    named = sum(topic[word] for word in own)
    share = (sum(hits.values()) + 2 * named) / total
    factor = 1.5 if share > 0.1 else min(1.0, share / 0.02)
    return factor * (len(hits) + 2.0 * bool(named) + 0.5 * math.log2(1 + named))


def _lexicon_names(label: str) -> list[str]:
    words = {t.stem(word) for word in re.findall(r"[^\W\d_]+", label.lower())}
    return [name for name in _LEXICON if t.stem(name) in words]


def moderate(text: str) -> dict[str, Any]:
    """Returns {"flagged", "decision": allow|review|block, "score": 0..1, "categories": score by
    category}.

    A lexicon sees words, not meaning: it misses implications and reacts to quotations. Use a model
    for Gold quality.
    """
    words = max(1, len(t.words(text)))
    categories = {}
    for name, harm in _DATA["harm"].items():
        hits = sum(len(re.findall(rf"\b(?:{pattern})\b", text, re.I)) for pattern in harm["patterns"])
        if hits:
            density = min(1.0, 8 * hits / words)
            categories[name] = round(min(1.0, harm["weight"] * (0.6 + 0.4 * density) + 0.08 * (hits - 1)), 3)
    score = max(categories.values(), default=0.0)
    decision = "block" if score >= 0.6 else "review" if score >= 0.3 else "allow"
    return {"flagged": decision != "allow", "decision": decision, "score": score, "categories": categories}
