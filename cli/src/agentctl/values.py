"""The values of a command line: inputs, tags, files, durations, times."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Container, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from agentctl.failures import BAD_INPUT, CliError

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\Z")
UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_JSON_SCALAR: Final = re.compile(r"(true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)\Z")
_FILE_NAME: Final = re.compile(r"\A(/|\./|\.\./|~/)|\.(txt|md|j2|jinja2?|prompt|tmpl|tpl|html?|ya?ml|json)\Z", re.I)
LAST_MS: Final = 253_402_300_799_999  # the end of the year 9999, the last one that is written with four digits
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
_LET_A_STEP_READ: Final = "pass its path and let a `file.read` step read it"


def read_text(path: str) -> str:
    """Returns the text of a file, or of stdin for `-`. Raises CliError if it is not text or too large."""
    if path == "-":
        data, name = sys.stdin.buffer.read(FILE_BYTES_MAX + 1), "stdin"
    else:
        name = path
        file = Path(path).expanduser()
        if file.is_dir():
            raise CliError(f"{path}: is a folder", fix="name a file")
        with file.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise CliError(f"{name}: larger than {FILE_BYTES_MAX // 1024**2} MB", fix=_LET_A_STEP_READ)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CliError(f"{name}: not UTF-8 text", fix=_LET_A_STEP_READ) from None


def is_file(source: str) -> bool:
    """True for a definition file and for `-`. What looks like a path is one, so that a misspelt file is not a name."""
    return source == "-" or "/" in source or source.endswith((".yaml", ".yml", ".json")) or Path(source).is_file()


def as_text(definition: str) -> str:
    """Returns a definition with a line break, by which the SDK tells it from a name."""
    return definition if "\n" in definition else definition + "\n"


def text_or_file(value: str) -> str:
    """Returns the text of the file for `@file`, and any other text as it is."""
    return read_text(value[1:]) if value.startswith("@") and len(value) > 1 else value


def template_text(value: str, flag: str = "--template") -> str:
    """Returns the text of `@file` or of a file that exists, or the template itself.

    Raises CliError for a text that looks like the name of a missing file, because it would become the template.
    """
    if value.startswith("@") and len(value) > 1:
        return read_text(value[1:])
    if "\n" not in value and "{" not in value and len(value) < 256 and Path(value).expanduser().is_file():
        return read_text(value)
    if looks_like_file(value):
        raise CliError(
            f"{flag} {value}: there is no such file",
            fix=f"name a file, or pass the text itself with {_INLINE.get(flag, flag)} (it may hold {{{{variables}}}})",
        )
    return value


_INLINE: Final = {"--template": "--text", "--system": "--system-text"}


def looks_like_file(value: str) -> bool:
    """True if a text is probably the name of a file: a single word, or one that ends as file names do."""
    text = value.strip()
    if not text or "\n" in text or "{" in text:
        return False
    return not re.search(r"\s", text) or bool(_FILE_NAME.search(text))


def decoded(text: str) -> Any:
    """Returns a JSON value. Raises ValueError that says what is wrong with the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError("it is nested too deeply: flatten it, or write it as a text") from None
    except ValueError:  # Python reads no longer ones
        raise ValueError("an integer in it has more than 4,300 digits: write it as a text, in quotes") from None


def scalar(text: str) -> Any:
    """Returns the value of a text that looks like JSON (a number, true, quoted, {...}, [...]), or the text itself."""
    stripped = text.strip()
    if _JSON_SCALAR.match(stripped):
        try:
            return decoded(stripped)
        except ValueError as error:
            raise CliError(f"{stripped[:20]}...: not JSON: {error}") from None
    if stripped[:1] in ('"', "{", "[") and stripped[-1:] in ('"', "}", "]"):
        try:
            return decoded(stripped)
        except ValueError:
            return text
    return text


def lower(text: str) -> Any:
    """Returns a text in lower case, for an argument that the SDK types as one of a few values. The SDK checks it."""
    return text.strip().lower()


def text_inputs(definition: str) -> frozenset[str]:
    """Returns the inputs that a definition declares as strings; none if the definition can't be read."""
    from agentflow_common.definition.yaml_text import load
    from agentflow_common.errors import InvalidError

    try:
        declared = load(definition)[0].get("inputs") or {}
        return frozenset(name for name, spec in declared.items() if spec == "string" or spec.get("type") == "string")
    except (InvalidError, AttributeError, TypeError, ValueError, RecursionError):
        return frozenset()


def parse_inputs(pairs: Iterable[str], whole: str = "", strings: Container[str] = ()) -> dict[str, Any]:
    """Returns the inputs of `--inputs` (or `@file`), and over them those of `--input key=value`.

    An input that is named in `strings` stays a text even if it looks like JSON.
    """
    out: dict[str, Any] = json_object(whole, "--inputs") if whole else {}
    for pair in pairs:
        key, value = split_pair(pair, "--input")
        if value.startswith("@@"):
            out[key] = value[1:]
        elif value.startswith("@") and len(value) > 1:
            out[key] = _from_file(value[1:])
        else:
            made = scalar(value)
            out[key] = value if key in strings and not isinstance(made, str) else made
    return out


def _from_file(path: str) -> Any:
    text = read_text(path)
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        try:
            return decoded(text)
        except ValueError as error:
            raise CliError(f"{path}: not JSON: {error}", fix="correct it, or rename it to pass it as text") from None
    return text


def split_pair(pair: str, flag: str) -> tuple[str, str]:
    """Returns the parts of `key=value`. Raises CliError for any other text."""
    key, equals, value = pair.partition("=")
    if not equals or not key.strip():
        raise CliError(f"{flag} {pair!r}: not key=value", fix=f"write {flag} name=value")
    return key.strip(), value


def parse_pairs(pairs: Iterable[str] | None, flag: str) -> dict[str, str]:
    """Returns the texts of `key=value` by key."""
    return dict(split_pair(pair, flag) for pair in pairs or ())


def parse_tags(pairs: Iterable[str] | None) -> dict[str, str]:
    """Returns the tags of `--tag key=value` by name."""
    return parse_pairs(pairs, "--tag")


def json_value(text: str, flag: str, example: str = '{"name": "value"}') -> Any:
    """Returns a JSON value, or that of a file for `@file`. Raises CliError that shows an example."""
    try:
        return decoded(text_or_file(text))
    except ValueError as error:
        raise CliError(f"{flag}: not JSON: {error}", fix=f"write {example}, or @file.json") from None


def json_option(text: str, flag: str) -> Any:
    """Returns the JSON value of an option; None if the option was left out."""
    return json_value(text, flag) if text else None


def json_object(text: str, flag: str, example: str = '{"name": "value"}') -> dict[str, Any]:
    """Returns a JSON object, or that of a file for `@file`. Raises CliError that shows an example."""
    data = json_value(text, flag, example)
    if not isinstance(data, dict):
        raise CliError(f"{flag}: a {type(data).__name__}, not an object", fix=f"write {example}")
    return data


def _span_ms(text: str) -> float | None:
    """Returns a duration with a unit in ms; None for any other text."""
    match = _SPAN.match(text.strip().lower())
    found = float(match[1]) * UNIT_MS[match[2]] if match else math.inf
    return found if math.isfinite(found) else None


def seconds(text: str, flag: str) -> float:
    """Returns the seconds of `30s`, `5m`, `1h`, `500ms` or a plain number. An empty text is 0."""
    found = _span_ms(text if re.search(r"[a-z]\s*\Z", text, re.I) else f"{text or 0}s")
    if found is None:
        raise CliError(f"{flag} {text!r}: not a duration", fix=f"write {flag} 30s, 5m or 1h")
    return found / 1000


def per_second(text: str, flag: str) -> float:
    """Returns how many in a second `5`, `5/s`, `300/m` or `100/h` are."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*(?:/\s*([smh]))?", text.strip().lower())
    if match is None:
        raise CliError(f"{flag} {text!r}: not a rate", fix=f"write {flag} 5/s, 300/m, 100/h, or 0 for no bound")
    return float(match[1]) * 1000 / UNIT_MS[match[2] or "s"]


def parse_span(text: str) -> int:
    """Returns the milliseconds of `90s`, `12h`, `2d` or `0`."""
    found = 0 if text.strip() == "0" else _span_ms(text)
    if found is None:
        raise CliError(f"{text!r} is not a span of time", fix="write 90s, 30m, 12h, 2d, 1w or 0")
    return int(found)


def parse_time(text: str, now_ms: int | None = None) -> int:
    """Returns a time as ms since the epoch; 0 for an empty text.

    A time is `now`, a span before now (`1h`), an ISO date or time (local unless it has an offset), or ms. A local time
    that the clocks skip (02:30, where 02:00 becomes 03:00) is counted on from before the gap, so it is 03:30.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    found = _time_ms(text, now_ms)
    if found is None:
        fix = "write now, 30m, 1h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z"
        raise CliError(f"{text!r} is not a time", fix=fix)
    return _in_range(found, text)


def _in_range(found_ms: int, text: str) -> int:
    if not 0 <= found_ms <= LAST_MS:
        raise CliError(f"{text[:80]!r} is out of range", fix="write a time between 1970 and 9999")
    return found_ms


def _time_ms(text: str, now_ms: int) -> int | None:
    """Returns what `parse_time` reads; None if it is not a time."""
    plain = text.strip().lower()
    if plain in ("", "now"):
        return now_ms if plain else 0
    ago_ms = _span_ms(plain.removesuffix(" ago"))
    if ago_ms is not None:
        return max(0, now_ms - int(ago_ms))
    if plain.isdecimal() and len(plain) >= 12:
        return int(plain[:20])
    try:
        return int(datetime.fromisoformat(text.strip()).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def parse_end(text: str, flag: str, now_ms: int | None = None) -> int:
    """Returns the end of something that begins now, as ms since the epoch: after `2h`, or at a time; 0 without text."""
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    plain = text.strip().lower()
    span_ms = _span_ms(plain) if plain else None
    end_ms = parse_time(text, now_ms) if span_ms is None else _in_range(now_ms + int(span_ms), text)
    if plain and end_ms <= now_ms:
        raise CliError(f"{flag} {text!r} is not after now", fix=f"write {flag} 2h, or a time that is still to come")
    return end_ms


def reveal_reason(reveal: bool, reason: str) -> str:
    """Returns the reason for `--reveal`. Raises CliError if it is missing, or if nothing is revealed."""
    if reason and not reveal:
        raise CliError("--reason is for --reveal", fix="add --reveal, or leave out --reason", exit_code=BAD_INPUT)
    if reveal and not reason.strip():
        raise CliError(
            "--reveal needs a reason: who sees originals, and why, is kept in the audit log",
            fix='add --reason WHY, for example --reason "complaint 4711"',
            exit_code=BAD_INPUT,
        )
    return reason.strip()
