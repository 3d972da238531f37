"""Function words by language, and words before and after a full stop that does not end a sentence.

See `words.toml`.
"""

from __future__ import annotations

from typing import Final

from agentflow_worker.providers.local.data import table

_DATA: Final = table("words")
_FULL_STOPS: Final = _DATA["full_stops"]
STOPWORDS: Final[dict[str, frozenset[str]]] = {
    code: frozenset(words.split()) for code, words in _DATA["stopwords"].items()
}
ABBREVIATIONS: Final = frozenset(_FULL_STOPS["abbreviations"].split())
ENDING: Final = frozenset(_FULL_STOPS["ending"].split())
MONTHS: Final = frozenset(_FULL_STOPS["months"].split())
BEFORE_ORDINALS: Final = frozenset(_FULL_STOPS["before_ordinals"].split())
