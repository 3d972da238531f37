"""Extractive summaries, keywords and passages: the text's own words, chosen by what the text itself
stresses.

Sentence centrality is LexRank (Erkan and Radev, 2004): the stationary distribution of a walk
between similar sentences. Redundancy is kept out by maximal marginal relevance (Carbonell and
Goldstein, 1998). Passages for a question rank by BM25. Plain Python: on documents of this size it
is as good as numpy or scikit-learn and costs no import.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import Any, Final

from agentflow_worker.providers.local import text as t

RANKED_SENTENCES_MAX: Final = 240  # the walk is quadratic in these
DAMPING: Final = 0.85
ROUNDS: Final = 25
_PHRASE_WORDS_MAX: Final = 3

Vector = dict[str, float]


def summarize(text: str, *, sentences_max: int, chars_max: int, pro: bool = False, focus: str = "") -> dict[str, Any]:
    """Returns {"summary", "sentences": in the text's order, "coverage": share of the topic words in
    the summary}.

    focus: the topics that interest the reader. pro: also weighs headings and position, and avoids
    repetition.
    """
    found = t.prose(text)
    language, _ = t.detect_language(text)
    stop = t.stopwords_of(language)
    if not found:
        short = t.shortened(t.clean(text), chars_max)
        return {"summary": short, "sentences": [short] if short else [], "coverage": 1.0 if short else 0.0}
    vectors = _vectors(found, stop)
    order = _shortlist(found, vectors)
    scores = _centrality([vectors[i] for i in order])
    title = Counter(term for heading in t.headings(text) for term in t.terms(heading, stop))
    wanted = set(t.terms(focus, stop))
    weighted = []
    for rank, i in enumerate(order):
        score = scores[rank] * _length_factor(found[i])
        score *= 1 + 0.35 * math.exp(-4 * i / len(found))
        if pro and title:
            score *= 1 + 0.25 * min(2, sum(1 for term in vectors[i] if term in title))
        score *= 1 + 0.3 * min(2, len(wanted & vectors[i].keys()))
        if found[i].startswith("<"):  # a token in the place of a name: it says less at the head of a summary
            score *= 0.6
        weighted.append((score, i))
    chosen = sorted(_pick(weighted, vectors, found, sentences_max, chars_max, 0.75 if pro else 0.9))
    picked = [found[i] for i in chosen]
    return {"summary": " ".join(picked), "sentences": picked, "coverage": _coverage(picked, found, stop)}


def _vectors(found: list[str], stop: frozenset[str]) -> list[Vector]:
    """Returns TF-IDF vectors of length 1."""
    counts = [Counter(t.terms(sentence, stop)) for sentence in found]
    seen: Counter[str] = Counter()
    for count in counts:
        seen.update(count.keys())
    n = len(found)
    vectors = []
    for count in counts:
        vector = {term: tf * (1 + math.log((1 + n) / (1 + seen[term]))) for term, tf in count.items()}
        norm = math.sqrt(sum(w * w for w in vector.values())) or 1.0
        vectors.append({term: w / norm for term, w in vector.items()})
    return vectors


def _shortlist(found: list[str], vectors: list[Vector]) -> list[int]:
    """Returns the sentences nearest to the whole text's centroid, in order, at most RANKED_SENTENCES_MAX."""
    if len(found) <= RANKED_SENTENCES_MAX:
        return list(range(len(found)))
    centroid: dict[str, float] = defaultdict(float)
    for vector in vectors:
        for term, weight in vector.items():
            centroid[term] += weight
    nearness = [sum(w * centroid[term] for term, w in vector.items()) for vector in vectors]
    return sorted(sorted(range(len(found)), key=lambda i: (-nearness[i], i))[:RANKED_SENTENCES_MAX])


def _centrality(vectors: list[Vector]) -> list[float]:
    n = len(vectors)
    postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for i, vector in enumerate(vectors):
        for term, weight in vector.items():
            postings[term].append((i, weight))
    links: list[dict[int, float]] = [defaultdict(float) for _ in range(n)]
    for posting in postings.values():
        for i, a in posting:
            for j, b in posting:
                if i != j:
                    links[i][j] += a * b
    totals = [sum(row.values()) for row in links]
    rank = [1.0 / n] * n
    for _ in range(ROUNDS):
        following = [(1 - DAMPING) / n] * n
        for i, row in enumerate(links):
            if totals[i]:
                share = DAMPING * rank[i] / totals[i]
                for j, weight in row.items():
                    following[j] += share * weight
        rank = following
    return rank


def _length_factor(sentence: str) -> float:
    """Returns less for very short sentences, which say little, and very long ones, which are hard
    to read alone.
    """
    n = len(t.words(sentence))
    if n < 5:
        return 0.15
    return 1.0 if 8 <= n <= 40 else 0.75


def _pick(
    weighted: list[tuple[float, int]],
    vectors: list[Vector],
    found: list[str],
    most: int,
    chars_max: int,
    overlap: float,
) -> list[int]:
    top = max((score for score, _ in weighted), default=1.0) or 1.0
    left = {i: score / top for score, i in weighted}
    chosen: list[int] = []
    chars = 0
    while left and len(chosen) < most:
        best = max(left, key=lambda i: (0.7 * left[i] - 0.3 * _nearest(vectors, i, chosen), -i))
        del left[best]
        if chosen and (_nearest(vectors, best, chosen) > overlap or chars + len(found[best]) > chars_max):
            continue
        chosen.append(best)
        chars += len(found[best]) + 1
    return chosen


def _nearest(vectors: list[Vector], i: int, chosen: list[int]) -> float:
    return max((_dot(vectors[i], vectors[j]) for j in chosen), default=0.0)


def _dot(a: Vector, b: Vector) -> float:
    if len(a) > len(b):
        a, b = b, a
    return sum(weight * b[term] for term, weight in a.items() if term in b)


def _coverage(picked: list[str], found: list[str], stop: frozenset[str]) -> float:
    whole = Counter(term for sentence in found for term in t.terms(sentence, stop))
    covered = {term for sentence in picked for term in t.terms(sentence, stop)}
    total = sum(whole.values())
    return round(sum(n for term, n in whole.items() if term in covered) / total, 3) if total else 1.0


def keywords(text: str, most: int = 8) -> list[str]:
    """Returns phrases of one to three topic words that the text repeats, the best first (after
    RAKE, Rose 2010).
    """
    text = t.without_addresses(text)
    language, _ = t.detect_language(text)
    stop = t.stopwords_of(language)
    spelling: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    counts: Counter[tuple[str, ...]] = Counter()
    first: dict[tuple[str, ...], int] = {}
    position = 0
    lines = [line for line in t.sentences(text) if not t.is_contact(line)] + t.headings(text)
    for line in lines or [t.clean(text)]:
        for run in _runs(line, stop):
            position += len(run)
            for size in range(1, _PHRASE_WORDS_MAX + 1):
                for start in range(len(run) - size + 1):
                    phrase = run[start : start + size]
                    key = tuple(t.stem(word) for word in phrase)
                    counts[key] += 1
                    spelling[key][" ".join(phrase)] += 1
                    first.setdefault(key, position)
    repeated = max(counts.values(), default=0) > 1
    scored = []
    for key, n in counts.items():
        if len(key) > 1 and n < 2 and repeated:
            continue
        written = min(spelling[key].items(), key=lambda item: (-item[1], item[0]))[0]
        named = 1.2 if written[:1].isupper() and not written.isupper() and n > 1 else 1.0
        long_word = min(1.0, max(map(len, key)) / 6)
        score = n * (1 + 0.8 * (len(key) - 1)) * named * long_word * (1 + 0.3 * math.exp(-first[key] / 200))
        scored.append((-score, first[key], key, written))
    chosen: list[tuple[tuple[str, ...], str]] = []
    for _, _, key, written in sorted(scored):
        if any(set(key) & set(other) for other, _ in chosen):
            continue
        chosen.append((key, written))
        if len(chosen) == most:
            break
    return [written if written.isupper() else written.lower() for _, written in chosen]


def _runs(line: str, stop: frozenset[str]) -> list[list[str]]:
    """Returns unbroken runs of topic words.

    A stopword, number, token or punctuation mark ends one.
    """
    runs: list[list[str]] = []
    run: list[str] = []
    end = 0
    for match in t.WORD.finditer(line):
        word = match.group()
        if run and line[end : match.start()].strip():
            runs.append(run)
            run = []
        if len(word) < 3 or word[0] in "<0123456789" or word.lower() in stop:
            if run:
                runs.append(run)
                run = []
        else:
            run.append(word)
        end = match.end()
    if run:
        runs.append(run)
    return runs


def passages(text: str, question: str, most: int = 3) -> list[dict[str, Any]]:
    """Returns the sentences that best match the question: [{"text", "score", "position"}], the best first."""
    found = t.sentences(text)
    language, _ = t.detect_language(text)
    stop = t.stopwords_of(language)
    counts = [Counter(t.terms(sentence, stop)) for sentence in found]
    asked = set(t.terms(question, stop))
    average = sum(sum(c.values()) for c in counts) / len(counts) if counts else 1.0
    seen = Counter(term for count in counts for term in count)
    scored: list[dict[str, Any]] = []
    for i, count in enumerate(counts):
        length = sum(count.values())
        score = 0.0
        for term in asked & count.keys():
            idf = math.log(1 + (len(counts) - seen[term] + 0.5) / (seen[term] + 0.5))
            score += idf * count[term] * 2.2 / (count[term] + 1.2 * (0.25 + 0.75 * length / (average or 1.0)))
        if score > 0:
            scored.append({"text": found[i], "score": round(score, 3), "position": i})
    return sorted(scored, key=lambda item: (-item["score"], item["position"]))[:most]
