"""Bytes of a document as readable text.

Pure; the parsers are imported when a document needs them.
"""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from agentflow_common.errors import InvalidError

PAGES_MAX: Final = 2_000
_SUFFIXES: Final = {
    "text/plain": ".txt .log",
    "text/markdown": ".md .markdown",
    "text/html": ".html .htm .xhtml",
    "application/pdf": ".pdf",
    "application/json": ".json",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/xml": ".xml",
    "application/yaml": ".yaml .yml",
    "text/x-python": ".py",
    "text/x-rst": ".rst",
}
_BY_SUFFIX: Final = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Windows and ISO pages that differ from cp1252 in a few letters, and DOS and Mac pages, which are rare now
_LATIN: Final = frozenset(
    {"cp1250", "cp1254", "cp1257", "cp1258", "iso8859_2", "iso8859_4", "iso8859_9", "iso8859_16"}
    | {"cp437", "cp775", "cp850", "cp852", "cp857", "cp858", "cp860", "cp861", "cp863", "cp865"}
    | {"mac_latin2", "mac_roman", "mac_iceland", "mac_turkish", "hp_roman8"}
)


@dataclass(slots=True)
class Document:
    """A document as readable text."""

    text: str
    content_type: str
    title: str = ""
    encoding: str = ""  # empty for PDF
    pages: list[str] = field(default_factory=list)  # one string for each page of a PDF, else one


def content_type_of(name: str, data: bytes) -> str:
    """Returns the type by the data's signature, then by the name's suffix, then by the look of the text."""
    head = data[:1024].lstrip()
    if head.startswith(b"%PDF-"):
        return "application/pdf"
    known = _BY_SUFFIX.get(PurePosixPath(name).suffix.lower())
    if known:
        return known
    lowered = head[:256].lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "text/html"
    return "text/plain"


def parse(data: bytes, name: str, encoding: str | None = None, content_type: str = "") -> Document:
    """Returns the document.

    Raises InvalidError for data without text: images, archives, encrypted or broken PDF.
    """
    kind = content_type or content_type_of(name, data)
    if kind == "application/pdf":
        return _pdf(data, name)
    text, used = decode(data, name, encoding)
    if kind == "text/html":
        title, body = html_to_text(text)
        return Document(body, kind, title, used, [body])
    title = ""
    if kind == "text/markdown":
        match = re.search(r"^#\s+(.+)$", text, re.M)
        title = match.group(1).strip() if match else ""
    return Document(text, kind, title, used, [text])


def decode(data: bytes, name: str, encoding: str | None = None) -> tuple[str, str]:
    """Returns (text, encoding): the named encoding, a byte-order mark, UTF-8, or the likeliest of
    the others.
    """
    if encoding:
        try:
            return data.decode(encoding), encoding
        except (LookupError, UnicodeDecodeError) as error:
            raise InvalidError(
                f"{name} is not {encoding}: leave `encoding` out to have it detected", kind="bad_encoding"
            ) from error
    for mark, codec in _BOMS:
        if data.startswith(mark):
            try:
                return data.decode(codec), codec
            except UnicodeDecodeError:
                break
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    else:
        if "\x00" not in text:
            return text, "utf-8"
    if b"\x00" in data[:4096]:
        raise InvalidError(
            f"{name} is a binary file; file.read takes text, Markdown, HTML and PDF", kind="not_a_text_document"
        )
    from charset_normalizer import from_bytes

    matches = from_bytes(data)
    best = matches.best()
    # a match stands for every page that gives the same text
    western = next((match for match in matches if "cp1252" in match.could_be_from_charset), None)
    if best is not None and western is not None and best.encoding in _LATIN and western.chaos <= best.chaos + 0.02:
        return str(western), "cp1252"  # the pages differ in a few accents: the most frequent one wins
    if best is None:
        return data.decode("cp1252", errors="replace"), "cp1252"
    return str(best), best.encoding


def html_to_text(markup: str) -> tuple[str, str]:
    """Returns (title, text), with headings, paragraphs, lists and table rows on lines of their own.

    Comments, scripts, hidden elements and the navigation around the content are left out.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(markup, "html.parser")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    if not title and (heading := soup.find("h1")) is not None:
        title = heading.get_text(" ", strip=True)
    _drop_unseen(soup)
    whole = _words(soup)
    parts = _around(soup)
    if whole and sum(map(_words, parts)) <= WITHOUT_CONTENT * whole:  # else the page has put its content there
        for tag in parts:
            tag.decompose()
    return title, _text_of(_content(soup))


def _drop_unseen(soup: Any) -> None:
    """Removes everything that a reader of the page does not see."""
    from bs4.element import PreformattedString

    for node in soup.find_all(string=lambda string: isinstance(string, PreformattedString)):
        node.extract()  # comments, declarations, instructions
    for tag in soup(_UNSEEN):
        tag.decompose()
    for tag in soup.find_all(_is_hidden):
        if not tag.decomposed:
            tag.decompose()


def _is_hidden(tag: Any) -> bool:
    style = str(tag.get("style") or "").replace(" ", "").lower()
    hidden = tag.has_attr("hidden") or tag.get("aria-hidden") == "true"
    return hidden or "display:none" in style or "visibility:hidden" in style


def _around(soup: Any) -> list[Any]:
    """Returns the parts of a page that lead to other pages, or stand on each of them."""
    parts = [tag for tag in soup.find_all(True) if _leads_elsewhere(tag)]
    chosen = set(map(id, parts))
    return [tag for tag in parts if not any(id(parent) in chosen for parent in tag.parents)]


def _leads_elsewhere(tag: Any) -> bool:
    if tag.name in _AROUND or str(tag.get("role") or "").lower() in _ROLES:
        return True
    if tag.name in ("header", "footer"):  # those of an article belong to it
        return tag.find_parent(["article", "main"]) is None and tag.find("h1") is None
    names = " ".join([*(tag.get("class") or []), str(tag.get("id") or "")])
    if names and tag.name not in ("body", "html", "main", "article") and _WIDGET.search(names):
        return True
    if tag.name not in ("ul", "ol", "div", "p"):
        return False
    links = tag.find_all("a")
    linked = sum(len(link.get_text(" ", strip=True)) for link in links)
    short = linked <= 25 * len(links)
    return len(links) >= 3 and short and linked >= 0.8 * len(tag.get_text(" ", strip=True))


def _content(soup: Any) -> Any:
    """Returns the element with the page's content, if the page names it."""
    articles = soup.find_all("article")
    named = soup.find("main") or soup.find(attrs={"role": "main"}) or (articles[0] if len(articles) == 1 else None)
    return named if named is not None and _words(named) >= 0.3 * _words(soup) else soup


def _words(tag: Any) -> int:
    return len(tag.get_text(" ").split())


def _text_of(soup: Any) -> str:
    for node in soup.find_all(string=True):
        if node.find_parent("pre") is None:
            node.replace_with(re.sub(r"\s+", " ", node))
    for tag in soup.find_all("br"):
        tag.replace_with("\n")
    for level in range(1, 7):
        for tag in soup.find_all(f"h{level}"):
            tag.insert(0, "#" * level + " ")
    for tag in soup.find_all("li"):
        tag.insert(0, "- ")
    for tag in soup.find_all(["td", "th"]):
        tag.append("\t")
    for tag in soup.find_all(_BLOCKS):
        tag.insert_before("\n")
        tag.append("\n" if tag.name in ("li", "tr", "dt", "dd") else "\n\n")
    lines = [re.sub(r"[^\S\t]+", " ", line).replace("\t", "  ").strip() for line in soup.get_text().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


WITHOUT_CONTENT: Final = 0.8  # the share of a page's words that its navigation may have; above, it is the content
_UNSEEN_NAMES: Final = """
    script style noscript template svg head title iframe button select input textarea option datalist dialog canvas
"""
_UNSEEN: Final = _UNSEEN_NAMES.split()
_AROUND: Final = frozenset({"nav", "aside", "menu"})
_ROLES: Final = frozenset(
    {"navigation", "banner", "contentinfo", "search", "menu", "menubar", "complementary", "dialog"}
)
_WIDGET: Final = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navigation|menu|breadcrumbs?|cookies?|consent|sidebar|skip-?link|social|share|newsletter)"
    r"(?:$|[\s_-])",
    re.I,
)
_BLOCK_NAMES: Final = """
    p div section article header footer main aside nav h1 h2 h3 h4 h5 h6 ul ol li table tr blockquote pre dl dt dd
    figure figcaption form fieldset hr address
"""
_BLOCKS: Final = _BLOCK_NAMES.split()


def _pdf(data: bytes, name: str) -> Document:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidError(f"{name} is encrypted: save it without a password", kind="pdf_encrypted")
        if len(reader.pages) > PAGES_MAX:
            raise InvalidError(
                f"{name} has {len(reader.pages):,} pages, the limit is {PAGES_MAX:,}: split it", kind="too_many_pages"
            )
        pages = [_tidy(page.extract_text() or "") for page in reader.pages]
        meta: Any = reader.metadata
        title = str(meta.title) if meta is not None and meta.title else ""
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidError(f"{name} can't be read as PDF ({type(error).__name__})", kind="pdf_broken") from error
    text = "\n\n".join(page for page in pages if page)
    if not text:
        raise InvalidError(
            f"{name} holds no text: it is probably scanned; run OCR on it first", kind="pdf_without_text"
        )
    return Document(text, "application/pdf", title, "", pages)


def _tidy(page: str) -> str:
    # joins plain words that the line's end had cut; in numbers and keys the dash is a part of them
    page = re.sub(r"(?<![\w-])([^\W\d_]+)-\n([^\W\d_]+)(?![\w-])", r"\1\2", page)
    return re.sub(r"[ \t]+\n", "\n", page).strip()
