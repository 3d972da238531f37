"""Zero-shot classification by lexicon: what a text looks like, or which of the caller's labels it is nearest to."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any, Final

from agentflow_worker.providers.local import text as t

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
    "contract": "contract clause party parties agreement term termination liability renew renewal amendment signature",
    "finance": "payment invoice revenue profit bank account cost budget price tax interest loan share market quarter",
    "invoice": "invoice amount due total tax vat payment quantity unit price bill billing",
    "technical": "server system software api database code deploy error bug network configuration version latency",
    "incident": "incident outage failure unavailable root cause postmortem mitigation restored impact timeline alert",
    "report": "report review findings summary recommendation section results analysis quarter conclusion",
    "medical": "patient doctor treatment symptom diagnosis hospital medicine dose clinical disease therapy",
    "science": "study experiment hypothesis result data method theory research sample measurement",
    "sports": "team match game player score season coach league goal win championship",
    "politics": "government election minister parliament policy vote party president law campaign",
    "news": "reported today announced yesterday officials said according spokesperson",
    "support": "help problem issue ticket broken please error refund account login cannot work",
    "complaint": "complaint unhappy disappointed refund terrible broken late angry unacceptable poor worst",
    "praise": "great excellent love wonderful best amazing pleased perfect thank thanks helpful recommend happy nice",
    "insult": "idiot stupid moron loser pathetic worthless scum disgusting trash fool dumb liar shut hate",
    "advertisement": "offer sale discount buy free order click price deal limited exclusive shop brand visit save",
    "letter": "dear sincerely regards yours faithfully enclosed writing sir madam letter",
    "manual": "step press button install connect device turn switch insert warning instruction figure settings manual",
    "email": "dear regards sincerely hello subject sent wrote reply forward attached",
    "marketing": "offer sale discount buy brand campaign customer product launch exclusive free",
    "spam": "winner prize free click offer cash urgent lottery viagra guaranteed limited act now congratulations",
    "positive": "good great excellent love happy wonderful best amazing pleased perfect fast helpful thank recommend",
    "negative": "bad poor terrible hate awful worst disappointed broken slow problem fail failure angry unhappy wrong",
    "neutral": "information report states describes contains according",
    "urgent": "urgent immediately asap critical now emergency outage deadline today blocked",
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
    """{"label", "type": the same, "score": 0..1, "scores": by label}. Without labels: the kind of content."""
    shapes = _shape_scores(text)
    offered = labels or list(shapes)
    topic = Counter(t.terms(text, t.stopwords_of(t.detect_language(text)[0])))
    total = sum(topic.values()) or 1
    raw = {}
    for label in offered:
        score = shapes.get(label.strip().lower(), 0.0)
        score += 4 * _lexicon_score(label, topic, total)
        raw[label] = score
    # a softmax turns scores of any size into shares; the temperature is chosen so that a clear winner reads as 0.8+
    top = max(raw.values())
    weights = {label: math.exp(4 * (score - top)) for label, score in raw.items()}
    whole = sum(weights.values())
    scores = {label: round(weight / whole, 3) for label, weight in weights.items()}
    best = max(offered, key=lambda label: (raw[label], -offered.index(label)))
    return {"label": best, "type": best, "score": scores[best], "scores": scores}


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
    names = [t.stem(word) for word in re.findall(r"[a-z]+", label.lower())]
    terms = {t.stem(word) for name in _lexicon_names(label) for word in _LEXICON[name].split()}
    hits = sum(n for term, n in topic.items() if term in terms)
    own = sum(topic[name] for name in names)
    return math.sqrt((hits + 3 * own) / total) if hits or own else 0.0


def _lexicon_names(label: str) -> list[str]:
    words = {t.stem(word) for word in re.findall(r"[a-z]+", label.lower())}
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
