"""What people write on a command line, as values: inputs, tags, files, times."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Container, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from agentctl.failures import BAD_INPUT, CliError

_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)\Z")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_JSON_SCALAR: Final = re.compile(r"(true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)\Z")
_FILE_NAME: Final = re.compile(r"\A(/|\./|\.\./|~/)|\.(txt|md|j2|jinja2?|prompt|tmpl|tpl|html?|ya?ml|json)\Z", re.I)
FILE_BYTES_MAX: Final = 4 * 1024 * 1024


def read_text(path: str) -> str:
    """A text file, or stdin for `-`. CliError if it is not text or too large."""
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
        raise CliError(
            f"{name}: larger than {FILE_BYTES_MAX // 1024**2} MB",
            fix="pass its path and let a `file.read` step read it",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CliError(f"{name}: not UTF-8 text", fix="pass its path and let a `file.read` step read it") from None


def text_or_file(value: str) -> str:
    """`@file` is the file's text; anything else is itself."""
    return read_text(value[1:]) if value.startswith("@") and len(value) > 1 else value


def template_text(value: str, flag: str = "--template") -> str:
    """Returns the text of `@file` or of a file that exists, or the template itself.

    CliError for what looks like the name of a file and is not there: it would become the template.
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
    """True if a text can hardly be meant as a text: one word, or what ends as file names do."""
    text = value.strip()
    if not text or "\n" in text or "{" in text:
        return False
    return not re.search(r"\s", text) or bool(_FILE_NAME.search(text))


def decoded(text: str) -> Any:
    """Returns a JSON value. ValueError that says what is wrong with the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError("it is nested too deeply: flatten it, or write it as a text") from None
    except ValueError:  # Python reads no longer ones
        raise ValueError("an integer in it has more than 4,300 digits: write it as a text, in quotes") from None


def scalar(text: str) -> Any:
    """JSON where it looks like JSON (numbers, true, false, null, quoted, {...}, [...]), else the text itself."""
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


def word(text: str) -> Any:
    """Returns a word of the command line for an argument of the SDK that takes a few words only; the SDK checks it."""
    return text.strip().lower()


def text_inputs(definition: str) -> frozenset[str]:
    """The inputs that a definition declares as strings; none if it can't be read (the server says what is wrong)."""
    from agentflow_common.definition.yaml_text import load
    from agentflow_common.errors import InvalidError

    try:
        declared = load(definition)[0].get("inputs") or {}
        return frozenset(name for name, spec in declared.items() if spec == "string" or spec.get("type") == "string")
    except (InvalidError, AttributeError, TypeError, ValueError, RecursionError):
        return frozenset()


def parse_inputs(pairs: Iterable[str], whole: str = "", strings: Container[str] = ()) -> dict[str, Any]:
    """Inputs from `--inputs-json` (or `@file`) and then `--input key=value`, which win.

    What is named in `strings` stays text, whatever it looks like.
    """
    out: dict[str, Any] = {}
    if whole:
        try:
            data = decoded(text_or_file(whole))
        except ValueError as error:
            raise CliError(f"--inputs-json: not JSON: {error}", fix='write {"name": "value"}, or @file.json') from None
        if not isinstance(data, dict):
            raise CliError(f"--inputs-json: a {type(data).__name__}, not an object", fix='write {"name": "value"}')
        out.update(data)
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
            raise CliError(f"{path}: not JSON: {error}", fix="mend it, or rename it to pass it as text") from None
    return text


def split_pair(pair: str, flag: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not equals or not key.strip():
        raise CliError(f"{flag} {pair!r}: not key=value", fix=f"write {flag} name=value")
    return key.strip(), value


def parse_tags(pairs: Iterable[str]) -> dict[str, str]:
    return dict(split_pair(pair, "--tag") for pair in pairs)


def json_value(text: str, flag: str) -> Any:
    """A JSON value, or that of a file by `@file`."""
    try:
        return decoded(text_or_file(text))
    except ValueError as error:
        raise CliError(f"{flag}: not JSON: {error}", fix="write for example '{\"amount\": 7}' or '\"text\"'") from None


def seconds(text: str, flag: str) -> float:
    """`30s`, `5m`, `1h`, `500ms`, or a number of seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?", text.strip().lower())
    if match is None:
        raise CliError(f"{flag} {text!r}: not a duration", fix=f"write {flag} 30s, 5m or 1h")
    unit = match[2] or "s"
    return float(match[1]) * (0.001 if unit == "ms" else _UNIT_S[unit])


def per_second(text: str, flag: str) -> float:
    """`5`, `5/s`, `300/m`, `100/h` as a number in a second."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*(?:/\s*([smh]))?", text.strip().lower())
    if match is None:
        raise CliError(f"{flag} {text!r}: not a rate", fix=f"write {flag} 5/s, 300/m, 100/h, or 0 for no bound")
    return float(match[1]) / _UNIT_S[match[2] or "s"]


def parse_span(text: str) -> int:
    """`90s`, `12h`, `2d` as ms; `0` is none."""
    word = text.strip().lower()
    match = _AGO.match(word)
    if match is None and word != "0":
        raise CliError(f"{text!r} is not a span of time", fix="write 90s, 30m, 12h, 2d, 1w or 0")
    return int(float(match[1]) * _UNIT_S[match[2]] * 1000) if match else 0


def parse_time(text: str, now_ms: int | None = None) -> int:
    """ms since the epoch of `now`, `1h` (ago; s, m, h, d, w), an ISO date or time (local unless it says), or ms."""
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    word = text.strip().lower()
    if word == "now":
        return now_ms
    ago = _AGO.match(word.removesuffix(" ago").strip())
    if ago:
        return now_ms - int(float(ago[1]) * _UNIT_S[ago[2]] * 1000)
    if word.isdigit() and len(word) >= 12:
        return int(word)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise CliError(
            f"{text!r} is not a time", fix="write now, 30m, 1h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None
    return int(moment.astimezone(UTC).timestamp() * 1000)


def reveal_reason(reveal: bool, reason: str) -> str:
    """Returns the reason for `--reveal`. CliError if there is none, or if nothing is revealed."""
    if reason and not reveal:
        raise CliError("--reason is for --reveal", fix="add --reveal, or leave out --reason", exit_code=BAD_INPUT)
    if reveal and not reason.strip():
        raise CliError(
            "--reveal needs a reason: who sees originals, and why, is kept in the audit log",
            fix='add --reason WHY, for example --reason "complaint 4711"',
            exit_code=BAD_INPUT,
        )
    return reason.strip()
