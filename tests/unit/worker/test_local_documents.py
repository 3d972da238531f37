"""The offline extractor on other people's documents: what it calls them, what it says of them, what it leaves out."""
# ruff: noqa: E501, RUF001

from __future__ import annotations

import re
from typing import Any

import pytest

from agentflow_worker.providers import CompletionRequest
from agentflow_worker.providers.local import classify, summary
from agentflow_worker.providers.local import text as t
from agentflow_worker.providers.local.provider import answer
from agentflow_worker.tools.documents import html_to_text

from .documents_of_others import DOCUMENTS, IBAN, LABELS, MAIL, NAME, PHONE, Document

TOKEN_PARTS = re.compile(
    r"phone_?number|email_?address|iban_?code|\bperson\b|vat_id|[a-z2-7]*(?:7q2m4k|kz5w3p|qw7ert|m4kz5w)"
)


def analysed(task: str, document: Document, model: str = "extractive-pro", **inputs: Any) -> dict[str, Any]:
    request = CompletionRequest(model, document.text, task=task, inputs={"content": document.text, **inputs})
    return answer(request)[1]


documents = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)


@documents
def test_usage_20_a_document_is_called_what_it_is_or_unknown(document: Document) -> None:
    made = analysed("classify", document, labels=LABELS)
    assert made["label"] == made["type"] == document.kind, made["scores"]
    other = analysed("classify", document, labels=[*LABELS, "other"])
    assert other["label"] == ("other" if document.kind == "unknown" else document.kind)
    assert "unknown" not in other["scores"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("german lease", "contract"), ("spanish invoice", "invoice"), ("help page about invoices", "support"),
        ("italian recipe", "recipe"), ("german minutes", "minutes"), ("english letter", "letter"),
        ("short story", "document"), ("japanese notice", "document"),
    ],
)  # fmt: skip
def test_usage_20_without_labels_a_text_is_text_and_its_kind_of_document_stands_beside_it(name: str, kind: str) -> None:
    made = analysed("classify", DOCUMENTS[name])
    assert (made["label"], made["document"]) == ("text", kind)


@documents
@pytest.mark.parametrize("model", ["extractive-1", "extractive-pro"])
def test_usage_20_a_summary_begins_with_prose_and_ends_with_a_sentence(document: Document, model: str) -> None:
    made = analysed("summarize", document, model)
    text = made["summary"]
    first = t.sentences(text)[0]
    assert not t.is_contact(first), text
    assert not first.startswith("<")
    assert len(first) > (10 if document.language == "ja" else 20)
    assert not re.search(r"\b(?:Tel|Fax|Str|Nr|ca|usw|bzw|Dr|Hrn|Mme|dott|etc|dhr|mevr|Abb|env)\.$", text), text
    assert PHONE not in text
    assert made["language"] == document.language


@documents
def test_usage_20_the_better_summary_says_what_the_document_is_about(document: Document) -> None:
    assert document.says.lower() in analysed("summarize", document)["summary"].lower()


@documents
def test_usage_20_keywords_hold_no_part_of_a_token(document: Document) -> None:
    for found in (analysed("keywords", document)["keywords"], analysed("summarize", document)["keywords"]):
        assert found or document.language == "ja"
        for word in found:
            assert not TOKEN_PARTS.search(word), found


@pytest.mark.parametrize(
    "token",
    [
        MAIL, MAIL.replace("<", "&lt;").replace(">", "&gt;"), MAIL.replace(":", ":\n"), MAIL.strip("<>"),
        "[EMAIL_ADDRESS_1]", f"**{MAIL}**", f"`{MAIL}`", f"{MAIL}{PHONE}", "https://shop.example/EMAIL_ADDRESS/kz5w3p",
    ],
)  # fmt: skip
def test_usage_20_a_token_in_another_form_is_no_keyword_either(token: str) -> None:
    text = f"The harbour office answers at {token} on weekdays. Write to {token} about the harbour, or to {token}."
    found = summary.keywords(text, 20)
    assert any("harbour" in word for word in found)
    assert not [word for word in found if TOKEN_PARTS.search(word) or "example" in word], found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"Rufen Sie uns an unter Tel. {PHONE} oder schreiben Sie. Wir helfen gern.", 2),
        ("Die Wohnung liegt im 2. Stock, d. h. oben. Sie kostet ca. 900 EUR.", 2),
        ("Am 3. März kam Hr. Dr. Klein bzw. seine Frau. Es regnete.", 2),
        ("Wir brauchen Stühle, Tische usw. Die Halle ist leer.", 2),
        ("Wir brauchen Stühle, Tische usw. für das Fest.", 1),
        ("M. Dupont et Mme Martin habitent au 12, av. Foch. Ils sont partis.", 2),
        ("Cela coûte env. 30 euros, p. ex. pour un repas. C'est peu.", 2),
        ("La Sra. García y el Dr. Ruiz viven en EE. UU. desde 2020. Trabajan allí.", 2),
        ("Il sig. Rossi e la dott.ssa Bianchi arrivano alle 9, cioè presto ecc. Poi partono.", 2),
        ("Dhr. Jansen komt o.a. voor de heer mr. De Vries. Hij is laat.", 2),
        ("O Sr. Silva mora na Av. Central, n.º 4. Ele é médico.", 2),
        ("Przyszedł dr Nowak, tj. lekarz z ul. Długiej. Było późno.", 2),
        ("Он живёт на ул. Ленина, т. е. в центре. Там тихо.", 2),
        ("It is sold in the U.S. by Acme Inc. and others. The price is $3.50.", 2),
        ("He joined Acme Inc. The firm was small.", 2),
        ("It opens at 9 a.m. on weekdays. It closes at 5 p.m. The rest is open.", 3),
        ("See fig. 3 and sec. 4 for details. Nothing else matters.", 2),
        ("The year was 2026. Everyone had left.", 2),
    ],
)
def test_usage_20_a_full_stop_of_an_abbreviation_ends_no_sentence(text: str, count: int) -> None:
    assert len(t.sentences(text)) == count, t.sentences(text)


@pytest.mark.parametrize(
    ("line", "contact"),
    [
        (f"Tel. {PHONE}", True), (f"Tel.: {PHONE} Fax: {PHONE}", True), (f"E-Mail {MAIL}", True), (MAIL, True),
        (f"{NAME}, {PHONE}", True), ("Phone: +44 20 7946 0000", True), ("www.harbour.example", True),
        (f"IBAN: {IBAN}", True), ("Hauptstr. 5, 12345 Neustadt", True), ("Kontakt: Frau Klein", True),
        ("Phone calls were recorded for a week.", False), ("Address the envelope to the landlord.", False),
        (f"Write to {MAIL} for the refund of the failed payment.", False), ("Mobile phones are not allowed.", False),
        (f"{NAME} agreed to pay for the damage to the door.", False), ("Account holders may cancel at any time.", False),
    ],
)  # fmt: skip
def test_usage_20_lines_of_contacts_are_told_from_sentences(line: str, contact: bool) -> None:
    assert t.is_contact(line) is contact


def test_usage_20_what_holds_nothing_else_is_still_summed_up() -> None:
    made = summary.summarize(f"Tel. {PHONE}\nE-Mail: {MAIL}", sentences_max=3, chars_max=500)
    assert PHONE in made["summary"]
    assert summary.summarize("", sentences_max=3, chars_max=500)["summary"] == ""


def test_usage_20_labels_that_are_no_kinds_of_documents_need_evidence_too() -> None:
    text = "The meeting is on Tuesday at noon in the small room."
    assert classify.classify(text, ["positive", "negative"])["label"] == "unknown"
    assert classify.classify("I love it, great work, thank you!", ["positive", "negative"])["label"] == "positive"
    assert classify.classify("Why is my order late? Where is it?", ["question", "praise"])["label"] == "question"
    assert classify.classify("Zwiebeln, Salz und Brot", ["finance", "sports"])["label"] == "unknown"


PAGE = """<!doctype html><html><head><title>Opening hours</title></head><body>
<!-- build 7f3a: navigation rendered by widget --><!--[if IE]><p>Old browser</p><![endif]-->
<header><a href="/">Harbour Museum</a><nav><ul><li><a href="/a">Visit us</a></li><li><a href="/b">Tickets</a></li></ul></nav></header>
<div class="cookie-banner">We use cookies. <button>Accept all</button></div>
<div class="menu"><ul><li><a href="/1">Home</a></li><li><a href="/2">Shop</a></li><li><a href="/3">Press</a></li></ul></div>
{main}
<aside><h2>Related</h2><a href="/x">Ten best museums</a></aside>
<footer>Copyright Harbour Museum <a href="/imprint">Imprint</a></footer>
<div hidden>hidden text</div><p style="display: none">invisible text</p><span aria-hidden="true">icon</span>
</body></html>"""
BODY = """<h1>Opening hours</h1><p>The museum is open from ten to six. It is closed on Mondays.</p>
<p>Groups of more than ten people should write to us a week before they come, as the rooms are small.</p>
<ul><li>Adults pay six pounds</li><li>See the <a href="/p">price list</a> for groups</li></ul>"""
BOILERPLATE = (
    "build 7f3a", "Old browser", "Visit us", "Tickets", "cookies", "Accept all", "Home", "Shop", "Ten best", "Copyright",
    "Imprint", "hidden text", "invisible text", "icon",
)  # fmt: skip


@pytest.mark.parametrize("main", [f"<main>{BODY}</main>", f"<article>{BODY}</article>", f"<div>{BODY}</div>", BODY])
def test_usage_20_of_a_page_the_content_is_read(main: str) -> None:
    title, text = html_to_text(PAGE.replace("{main}", main))
    assert title == "Opening hours"
    assert "# Opening hours" in text
    assert "The museum is open from ten to six. It is closed on Mondays." in text
    assert "- See the price list for groups" in text
    assert [word for word in BOILERPLATE if word in text] == []


def test_usage_20_a_page_that_is_all_in_a_form_or_a_header_is_read_all_the_same() -> None:
    for tag in ("form", "header", "nav", "footer"):
        _, text = html_to_text(f"<html><body><{tag}><p>The only sentence of the page.</p></{tag}></body></html>")
        assert text == "The only sentence of the page."
    _, text = html_to_text("<article><header><h1>Title</h1><p>By Ann</p></header><p>Text of it.</p></article>")
    assert "# Title" in text
    _, text = html_to_text("<p>One.</p><!-- two --><p>Three.</p><?php four ?><![CDATA[five]]>")
    assert text.split() == ["One.", "Three."]


def test_usage_20_markup_that_a_step_is_given_is_read_as_a_page() -> None:
    page = PAGE.replace("{main}", BODY)
    for task, field in (("summarize", "summary"), ("keywords", "keywords")):
        data = answer(CompletionRequest("extractive-pro", page, task=task, inputs={"content": page}))[1]
        said = str(data[field])
        assert "<" not in said
        assert "museum" in said.lower()
        assert [word for word in BOILERPLATE if word in said] == []
    code = "if (a < b && c > d) { return list<int>(); }\n" * 3
    assert answer(CompletionRequest("extractive-1", code, task="classify", inputs={"content": code}))[0] == "code"
