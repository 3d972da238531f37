"""Finds the constructions that CONTRIBUTING's rules of prose rule out, in documents, docstrings and messages.

    python -m tests.architecture.prose [PATH...]     lists them in these files or folders (default: everything)
    python -m tests.architecture.prose --all PATH    adds comments and the docstrings of private functions

A document is a markdown file outside its code, or the comments of a protobuf file.
A docstring counts if it opens a module or belongs to something public.
The first word of every function's docstring is a verb, or it begins with `True if`. A property may begin with a noun,
and a command of the CLI addresses its reader: `Show the run`.
A message is any other string of at least three words in a package's source. Text in backticks is never looked at.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.architecture.test_stack_house_rules import SQL, name_of, tracked
from tests.support.paths import ROOT

WORDS_MAX = 40  # the upper bound of a sentence in a document or a module's docstring; the aim is 25
NOT_PROSE = ("examples/data/",)
PARTS = ("libs", "services", "sdk", "cli", "benchmarks")  # their Python is read; of the tests only the documents are

_FIRST = re.compile(r"(?:What|Whether|Which|Who|Whose|How (?:many|much|long|often))\b")
_FIRST_REMEDY = "begin with a noun: it opens a module, a class or a property"
_VERB = re.compile(r"(?:[A-Z][a-z]+(?:-[a-z]+)?s\b|True\s+(?:if|for|while)\b)")
_NO_VERB = re.compile(  # these end like a verb
    "(?:As|Always|Its|This|Bytes|Edges|Errors|Events|Fields|Keys|Lines|Messages|Milliseconds|Names|Nodes|Numbers|"
    "Outputs|Paragraphs|Places|Problems|Seconds|Sequences|Settings|Steps|Times|Types|Values|Words)\\b"
)
COMMANDS = "cli/src/agentctl/commands/"  # a docstring there addresses the reader of a help text: `Show the run`
_VERB_REMEDY = "begin with a verb: `Returns ...`, `Yields ...`, `Marks ...`, `True if ...`"
_COMPARED = "longer|more|less|fewer|later|earlier|sooner|faster|slower|better|worse"
_ENTRY_REMEDY = "explain each field by a comment on its own line"
# Each pattern with what to write in its place. A space stands for any white space; "there is no x" is plain English.
_RULES = {
    "of which": "make two sentences, or name the thing again",
    "of whom": "make two sentences, or name the person again",
    "who(?:m|se)?ever": "name it: `the client that ...`, `the caller`",
    "whatever (?:is|are|was|were)": "name it: `every event that is ...`",
    "(?:there )?(?:is|are|was|were) (?-i:none)": "`is not one`, `has none`, `does not exist`",
    f"(?:there )?(?:is|are|was|were) no (?!(?:{_COMPARED})\\b)\\w+": "`is not a ...`, `has no ...`",
    "nobody's": "`has no owner`, `belongs to no one`",
    "his": "`its`, `their`",
    "its own word": "`its own message`, `its own report`",
    "told": "`reported`, `notified`, `answered`, `explained`",
    "tell(?:s|ing)? of": "`reports`, `lists`, `describes`",
    "(?:a|the|this|that|no|any|every|another|late|last) words? (?:about|on|of it|came|comes|from|was late)": (
        "`message`, `report`, `verdict`, `answer`"
    ),
    "without a word": "`silently`, `without a message`",
    "held": "`kept`, `reserved`, `stored`, `locked`, `blocked`",
    "mend(?:s|ed|ing)?": "`fix`, `repair`",
    "for ever": "`forever`",
    "ought": "`should`, `must`",
    "be it": "`whether it is ... or ...`",
    "sa(?:y|ys|id) (?:\\w+ )?of": "`says about`, `states`, `describes`",
    "what bec(?:omes?|ame) of": "`the outcome of`, `what happened to`",
}
_PATTERNS = [
    (re.compile(r"(?<![\w-])(?:" + text.replace(" ", r"\s+") + r")(?![\w-])", re.IGNORECASE), remedy)
    for text, remedy in _RULES.items()
]
_ENTRY = re.compile(r"(?:^|[.;]\s+)([a-z_]+(?:, [a-z_]+)*):\s")
_ENTRIES_MAX = 2
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+|\n\s*\n|\n\s*(?:[-*]|\d+\.)\s|\n {4,}")
_CODE = re.compile(r"``[^`]+``|`[^`]+`")
_FENCE = re.compile(r"^( *)(```|~~~)[^\n]*\n.*?^\1\2[^\n]*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"\]\([^)]*\)")
_TARGET = re.compile(r"^\[[^\]\n]+\]: \S+$", re.MULTILINE)
_NEW_ITEM = re.compile(r"\s*(?:[-*+]|\d+\.|#+|>|\|)\s")


class Finding(NamedTuple):
    path: str
    line: int
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text} -> {self.remedy}"


class Passage(NamedTuple):
    line: int  # of its first character
    text: str
    is_docstring: bool = False
    bounded: bool = False  # its sentences have an upper bound
    is_class: bool = False


def _blank(match: re.Match[str]) -> str:
    """Returns a placeholder of the same size and lines, so that later matches keep their place."""
    return re.sub(r"[^`\n]", "x", match[0])


def _erase(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def judge(path: str, passage: Passage) -> Iterator[Finding]:
    text = _CODE.sub(_blank, passage.text)

    def finding(start: int, end: int, remedy: str) -> Finding:
        around = " ".join(passage.text[max(0, start - 30) : end + 30].split())
        return Finding(path, passage.line + text.count("\n", 0, start), f"...{around}...", remedy)

    first = _FIRST.match(text.lstrip()) if passage.is_docstring else None
    if first:
        start = len(text) - len(text.lstrip())
        yield finding(start, start + first.end(), _FIRST_REMEDY)
    if passage.is_class and "Args:\n" not in text and len(entries := list(_ENTRY.finditer(text))) > _ENTRIES_MAX:
        yield finding(entries[0].start(1), entries[0].end(), _ENTRY_REMEDY)
    for pattern, remedy in _PATTERNS:
        for match in pattern.finditer(text):
            if not match[0].lower().startswith("there"):
                yield finding(match.start(), match.end(), remedy)
    if passage.bounded:
        at = 0
        for sentence in _SENTENCE_END.split(text):
            at = text.index(sentence, at)
            words = len(re.findall(r"\S*\w\S*", sentence))
            if words > WORDS_MAX:
                yield finding(at, at + 30, f"a sentence of {words} words: make it two (aim at 25)")
            at += len(sentence)


def _paragraphs(text: str) -> Iterator[Passage]:
    """Yields the paragraphs, list items, headings and cells of tables of a markdown text."""
    text = _LINK.sub("]", _TARGET.sub(_erase, _COMMENT.sub(_erase, _FENCE.sub(_erase, text))))
    begin, lines = 1, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if not line.strip() or _NEW_ITEM.match(line):
            if lines:
                yield Passage(begin, "\n".join(lines), bounded=True)
            begin, lines = number, []
        if line.lstrip().startswith("|"):
            for cell in re.split(r"(?<!\\)\|", line):
                yield Passage(number, cell, bounded=True)
        elif line.strip():
            begin, lines = (begin, [*lines, line]) if lines else (number, [line])


def _string(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    parts = (part.value if isinstance(part, ast.Constant) else "`x`" for part in node.values)
    return "".join(str(part) for part in parts)


def _is_public(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        commands = (ast.unparse(decorator) for decorator in node.decorator_list)
        return not node.name.startswith("_") or any(re.search(r"\.(command|callback)\b", text) for text in commands)
    return not isinstance(node, ast.ClassDef) or not node.name.startswith("_")


def _is_message(text: str) -> bool:
    words = len(re.findall(r"[A-Za-z]{2,}", text))
    word_list = words > WORDS_MAX and not re.search(r"[.,:;]", text)
    return words > 2 and " " in text and not word_list and not SQL.match(text)


def _does_something(node: ast.AST, path: str) -> bool:
    """True for a function whose docstring says what it does: not a property, and not a command of the CLI."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    is_command = path.startswith(COMMANDS) and not node.name.startswith("_")
    return not is_command and not any(ast.unparse(name).endswith("property") for name in node.decorator_list)


def without_verb(path: str, tree: ast.AST) -> Iterator[Finding]:
    """Yields the docstrings of functions, public or private, that do not begin with a verb."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _does_something(node, path):
            text = ast.get_docstring(node) or "Returns"
            if not _VERB.match(text) or _NO_VERB.match(text):
                yield Finding(path, node.body[0].lineno, f"{' '.join(text.split()[:6])} ...", _VERB_REMEDY)


def _passages(path: str, node: ast.AST, public: bool, every: bool) -> Iterator[Passage]:
    """Yields the docstrings of what is public, or every docstring, and the messages of everything."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            if isinstance(child.value.value, str) and (public or every):
                opens = child is next(iter(getattr(node, "body", ())), None)  # else it is the text below a field
                module, is_class = isinstance(node, ast.Module) and opens, isinstance(node, ast.ClassDef)
                first = opens and not _does_something(node, path)  # without_verb reads the first words of the others
                yield Passage(child.value.lineno, child.value.value, first, bounded=module, is_class=is_class)
        elif isinstance(child, ast.Constant | ast.JoinedStr):
            text = _string(child)
            if _is_message(text):
                yield Passage(child.lineno, text)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _passages(path, child, public and not in_function and _is_public(child), every)
        else:
            yield from _passages(path, child, public, every)


def _comments(text: str) -> Iterator[Passage]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield Passage(token.start[0], token.string)


def _proto_comments(text: str) -> Iterator[Passage]:
    """Yields each block of `//` comments of a protobuf file: the documentation of the API."""
    begin, lines = 0, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], 1):
        comment = re.match(r"\s*//(.*)", line)
        if comment:
            begin, lines = (begin, [*lines, comment[1]]) if lines else (number, [comment[1]])
        elif lines:
            yield Passage(begin, "\n".join(lines), is_docstring=True)
            lines = []


def findings(path: Path, every: bool = False) -> list[Finding]:
    """Returns the findings in one file. every: comments and private docstrings count too."""
    text, name = path.read_text(), name_of(path)
    found: list[Finding] = []
    readers = {".md": _paragraphs, ".proto": _proto_comments}
    if path.suffix in readers:
        passages = list(readers[path.suffix](text))
    else:
        tree = ast.parse(text)
        found = list(without_verb(name, tree))
        passages = [*_passages(name, tree, True, every), *(_comments(text) if every else ())]
    return sorted(found + [finding for passage in passages for finding in judge(name, passage)])


def is_prose(path: Path) -> bool:
    name = name_of(path)
    if path.suffix == ".md":
        return not name.startswith(NOT_PROSE)
    if path.suffix == ".proto":
        return True
    return path.suffix == ".py" and name.startswith(PARTS) and path != Path(__file__)


def _chosen(names: list[str]) -> list[Path]:
    paths = [Path(name).resolve() for name in names]
    for path in paths:
        if not path.exists():
            sys.exit(f"{path} does not exist: give files or folders of the repository")
    return [path for path in tracked() if is_prose(path) and any(path.is_relative_to(given) for given in paths)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.architecture.prose", description=__doc__)
    parser.add_argument("paths", nargs="*", default=[str(ROOT)])
    parser.add_argument("--all", action="store_true", help="add comments and private docstrings, which do not count")
    arguments = parser.parse_args()
    found = [finding for path in _chosen(arguments.paths) for finding in findings(path, arguments.all)]
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
