"""Zero-shot classification by lexicon: what a text looks like, or which of the caller's labels it is nearest to."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any, Final

from agentflow_worker.providers.local import kinds
from agentflow_worker.providers.local import text as t

SAMPLE_CHARS: Final = 60_000
UNKNOWN: Final = "unknown"
DOUBT: Final = 2.1  # three common words that a text of any kind may use
_REST_LABELS: Final = """
    other others unknown none misc miscellaneous general document sonstiges andere autre otro altro overig
"""
_REST: Final = frozenset(_REST_LABELS.split())


# what a payload is: the labels that a caller gets who names none
_SHAPES: Final[dict[str, tuple[tuple[str, float], ...]]] = {
    "code": (
        (r"^\s*(?:def|class|async def)\s+\w+.*:\s*$", 2.0),
        (r"^\s*(?:import \w|from [\w.]+ import |#include\s*<|package \w|using \w+;)", 2.0),
        (r"^\s*(?:function\b|const \w+\s*=|let \w+\s*=|var \w+\s*=|public |private |fn \w+\(|func \w+\()", 1.5),
        (r"[;{}]\s*$", 0.6),
        (r"^\s*(?:return\b|if\s*\(|for\s*\(|while\s*\(|else\b.*[:{]\s*$)", 0.8),
    ),
    "image": (
        (r"\bdata:image/|!\[[^\]]*\]\(|<img\b", 3.0),
        (r"\S+\.(?:png|jpe?g|gif|webp|svg|bmp|tiff?|heic)\b", 2.5),
        (r"\b(?:photo(?:graph)?s?|pictures?|images?|screenshots?|pixels?|jpeg|png)\b", 0.8),
    ),
    "audio": ((r"\S+\.(?:mp3|wav|flac|ogg|m4a)\b|data:audio/", 2.5), (r"\b(?:audio|podcast|recording)\b", 0.6)),
    "video": ((r"\S+\.(?:mp4|mov|mkv|webm|avi)\b|data:video/", 2.5), (r"\b(?:video|footage|clip)\b", 0.6)),
    "data": (
        (r"^\s*[\[{].*[\]}]\s*$", 1.5),
        (r"^\s*\"[^\"]+\"\s*:\s*", 1.0),
        (r"^(?:[^,\n]*,){3,}[^,\n]*$", 0.7),
        (r"^(?:[^\t\n]*\t){2,}[^\t\n]*$", 0.8),
    ),
}

# words that stand for common labels; a label's own words always count
_LEXICON: Final[dict[str, str]] = {
    "legal": "contract clause party parties agreement liability law court plaintiff indemnity terms breach counsel",
    "finance": "payment invoice revenue profit bank account cost budget price tax interest loan share market quarter",
    "technical": "server system software api database code deploy error bug network configuration version latency",
    "medical": "patient doctor treatment symptom diagnosis hospital medicine dose clinical disease therapy",
    "science": "study experiment hypothesis result data method theory research sample measurement",
    "sports": "team match game player score season coach league goal win championship",
    "politics": "government election minister parliament policy vote party president law campaign",
    "complaint": "complaint unhappy disappointed refund terrible broken late angry unacceptable poor worst "
    "beschwerde enttäuscht verspätet kaputt defekt erstattung ärgerlich réclamation déçu retard cassé "
    "remboursement queja decepcionado roto reembolso tarde reclamo",
    "praise": "great excellent love wonderful best amazing pleased perfect thank thanks helpful recommend happy nice "
    "danke großartig toll hervorragend zufrieden empfehle merci excellent génial parfait gracias "
    "excelente genial perfecto contento",
    "insult": "idiot stupid moron loser pathetic worthless scum disgusting trash fool dumb liar shut hate",
    "advertisement": "offer sale discount buy free order click price deal limited exclusive shop brand visit save "
    "angebot rabatt gratis kostenlos jetzt kaufen promotion soldes offre oferta descuento",
    "marketing": "offer sale discount buy brand campaign customer product launch exclusive free",
    "spam": "winner prize free click offer cash urgent lottery viagra guaranteed limited act now congratulations",
    "positive": "good great excellent love happy wonderful best amazing pleased perfect fast helpful thank recommend "
    "gut großartig toll zufrieden schön bon excellent parfait bueno excelente perfecto contento",
    "negative": "bad poor terrible hate awful worst disappointed broken slow problem fail failure angry unhappy wrong "
    "schlecht enttäuscht kaputt langsam mauvais déçu cassé lent malo decepcionado roto lento",
    "neutral": "information report states describes contains according",
    "urgent": "urgent immediately asap critical now emergency outage deadline today blocked "
    "dringend sofort eilt urgence immédiatement urgente inmediatamente",
    "question": "what why how when where who which can could does",
    "simple": "short brief basic single easy plain",
    "complex": "however therefore although multiple dependency architecture trade analysis constraint interaction",
}
_OFFER: Final = re.compile(
    r"(?:one of|labels?|categor(?:y|ies)|types?|classes|choose from|into|either)\b[^:\n\[(]{0,40}[:\[(]\s*"
    r"([A-Za-z][\w ,/|'\"-]{2,300})",
    re.I,
)


def labels_in(prompt: str) -> list[str]:
    """The labels that a prompt offers: `Classify as one of: text, image or code` -> text, image, code."""
    match = _OFFER.search(prompt)
    if not match:
        return []
    parts = re.split(r"\s*(?:,|\||/|\bor\b|\band\b)\s*", match.group(1))
    found = [part.strip(" '\"-") for part in parts]
    found = [label for label in found if 0 < len(label) <= 40 and len(label.split()) <= 3]
    return list(dict.fromkeys(found)) if len(found) >= 2 else []


def classify(text: str, labels: list[str] | None = None) -> dict[str, Any]:
    """{"label", "type": the same, "score": 0..1, "scores": by label}.

    Without labels: the kind of content, and under "document" the kind of document, if it is text.
    With labels, a text that nothing puts under one of them is `other` or the like, if that is a label, else `unknown`.
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
    """How much speaks for a label; DOUBT is as much as may be chance."""
    name = label.strip().lower()
    if name in shapes:
        return 4 * shapes[name]
    asked = 4 * _questions(text) if name in ("question", "questions", "frage", "pregunta") else 0.0
    kind = kinds.kind_of(label)
    if kind:
        return asked + kinds.evidence(text[:SAMPLE_CHARS], kind)
    return asked + _lexicon_score(label, topic, sum(topic.values()) or 1)


def _chosen(raw: dict[str, float], rest: str) -> dict[str, Any]:
    """The label that outweighs all others together, else the rest. The power makes a clear winner read as 0.8+."""
    weights = {label: max(score, 0.0) ** 3 for label, score in raw.items()}
    whole = sum(weights.values()) or 1.0
    scores = {label: round(weight / whole, 3) for label, weight in weights.items()}
    best = max(raw, key=lambda label: raw[label])
    label = best if weights[best] > 0.5 * whole else rest
    return {"label": label, "type": label, "score": scores[label], "scores": scores}


def _questions(text: str) -> float:
    """The share of sentences that ask."""
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
    """Different words of the label's lexicon, and its own words, less where they are few for the text's length."""
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


# --- moderation ---

_HARM: Final[dict[str, tuple[float, tuple[str, ...]]]] = {
    "violence": (
        0.5,
        (
            r"kill(?:s|ed|ing)?|murder\w*|shoot\w*|stab\w*|bomb\w*|massacre|behead\w*",
            r"attack (?:him|her|them|you)|beat (?:him|her|them|you) up",
        ),
    ),
    "threat": (
        0.9,
        (
            r"(?:i|we) (?:will|am going to|'ll) (?:kill|hurt|find|shoot|destroy) (?:you|him|her|them)",
            r"you(?:'re| are) dead|watch your back",
        ),
    ),
    "harassment": (0.5, (r"idiots?|morons?|stupid|loser|shut up|pathetic|worthless|scum|disgusting|trash",)),
    "hate": (
        0.8,
        (
            r"(?:hate|exterminate|get rid of) (?:all |those |these )?"  # noqa: ISC004
            r"(?:foreigners|immigrants|women|men|jews|muslims|christians|blacks|whites|gays)",
            r"subhuman\w*|vermin",
        ),
    ),
    "self_harm": (0.8, (r"suicid\w*|kill myself|end my life|self[- ]harm|cut myself|want to die",)),
    "sexual": (0.6, (r"porn\w*|nudes?|explicit sex\w*|xxx",)),
    "illegal": (
        0.6,
        (
            r"(?:buy|sell|make|cook) (?:cocaine|heroin|meth|drugs|weapons|guns|explosives)",
            r"stolen (?:cards?|credit)|counterfeit|launder\w*|how to (?:hack|make a bomb)",
        ),
    ),
    "spam": (0.4, (r"click here|act now|limited time offer|you have won|free money|100% free|winner",)),
}


def moderate(text: str) -> dict[str, Any]:
    """{"flagged", "decision": allow|review|block, "score": 0..1, "categories": score by category found}.

    A lexicon sees words, not meaning: it misses what is implied and stops at quotations. For Gold use a model.
    """
    words = max(1, len(t.words(text)))
    categories = {}
    for name, (weight, patterns) in _HARM.items():
        hits = sum(len(re.findall(rf"\b(?:{pattern})\b", text, re.I)) for pattern in patterns)
        if hits:
            density = min(1.0, 8 * hits / words)
            categories[name] = round(min(1.0, weight * (0.6 + 0.4 * density) + 0.08 * (hits - 1)), 3)
    score = max(categories.values(), default=0.0)
    decision = "block" if score >= 0.6 else "review" if score >= 0.3 else "allow"
    return {"flagged": decision != "allow", "decision": decision, "score": score, "categories": categories}
