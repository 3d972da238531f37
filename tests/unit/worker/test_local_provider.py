"""The offline provider: what it says depends on what it is given."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from agentflow_worker.providers import Completion, CompletionRequest, ProviderError, Providers
from agentflow_worker.providers.local import text as t
from agentflow_worker.settings import WorkerSettings
from tests.support.paths import EXAMPLES

DOCUMENT = (EXAMPLES / "data" / "vendor_review.md").read_text()


async def ask(task: str, prompt: str = "Do it.", model: str = "extractive-1", **inputs: Any) -> Completion:
    request = CompletionRequest(model, prompt, task=task, inputs=inputs)
    return await Providers(WorkerSettings()).get("local").complete(request, lambda _text: None)


async def test_a_summary_is_made_of_the_document_and_is_the_same_each_time() -> None:
    first, again = await ask("summarize", content=DOCUMENT), await ask("summarize", content=DOCUMENT)
    assert first == again
    plain = " ".join(DOCUMENT.split())
    assert "94 minutes" in first.text
    assert all(sentence in plain for sentence in t.sentences(first.text))
    assert len(first.text) < len(DOCUMENT) / 5
    assert {"halden cloud", "settlement"} <= set(first.data["keywords"])
    assert first.data["language"] == "en"
    pro = await ask("analyze", content=DOCUMENT, model="extractive-pro")
    assert pro.data["coverage"] > first.data["coverage"]
    assert "#" not in first.text + pro.text


async def test_privacy_tokens_pass_through_untouched() -> None:
    token = "<EMAIL_ADDRESS:7Q2M4K>"
    made = await ask("summarize", content=f"Write to {token} for the refund of the failed payment. It is late.")
    assert token in made.text
    made = await ask("translate", content=f"Hello, write to {token} today.", target_language="de")
    assert token in made.text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("The committee met on Monday and agreed on the plan. It will report in May.", "text"),
        ("Here is a photograph of the site: https://cdn.example/roof.jpg", "image"),
        ("def add(a, b):\n    return a + b\n\nclass Sum:\n    pass\n", "code"),
    ],
)
async def test_classification_names_the_kind_of_content(text: str, kind: str) -> None:
    made = await ask("classify", content=text)
    assert made.data["type"] == made.data["label"] == made.text == kind
    assert made.data["score"] == max(made.data["scores"].values())


async def test_labels_come_from_the_inputs_or_from_the_prompt() -> None:
    text = "The delivery was late, the box was broken and I am very disappointed. I want a refund."
    made = await ask("classify", content=text, labels=["positive", "negative"])
    assert made.data["type"] == "negative"
    made = await ask(
        "", prompt="Classify the message as one of: praise, complaint or question.\n\n" + text, content=text
    )
    assert made.data["type"] == "complaint"


async def test_entities_are_what_the_text_names() -> None:
    made = await ask("entities", content=DOCUMENT + "\nWrite to <EMAIL_ADDRESS:7Q2M4K>.")
    assert "Halden Cloud" in made.data["names"][:4]
    assert "2026-03-14" in made.data["dates"]
    assert "EUR 184,000" in made.data["amounts"]
    assert made.data["protected"] == [{"kind": "EMAIL_ADDRESS", "count": 1}]


async def test_moderation_blocks_threats_and_lets_news_pass() -> None:
    assert (await ask("moderate", content="I will kill you, idiot")).data["decision"] == "block"
    assert (await ask("moderate", content=DOCUMENT)).data["decision"] == "allow"


async def test_translation_says_that_it_is_a_gloss_and_skips_the_same_language() -> None:
    made = await ask("translate", content="Thank you for the payment.", target_language="Spanish")
    assert "gracias" in made.text.lower()
    assert "not a translation" in made.text
    same = await ask("translate", content="Gracias por el pago y por su mensaje.", target_language="es")
    assert same.data["method"] == "unchanged"


async def test_an_answer_is_a_passage_and_nothing_is_invented() -> None:
    made = await ask("answer", content=DOCUMENT, question="For how many hours was the ticket readable by partners?")
    assert "19 hours" in made.text
    assert not (await ask("answer", content=DOCUMENT, question="Zebra crossings in Uppsala?")).data["found"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The report was sent to all of the customers.", "en"),
        ("Der Bericht wurde an alle Kunden geschickt.", "de"),
        ("Le rapport a été envoyé à tous les clients.", "fr"),
        ("El informe fue enviado a todos los clientes.", "es"),
        ("Il rapporto è stato inviato a tutti i clienti.", "it"),
        ("O relatório foi enviado a todos os clientes.", "pt"),
        ("Het rapport is naar alle klanten gestuurd.", "nl"),
        ("Rapporten har skickats till alla kunder.", "sv"),
        ("Raport został wysłany do wszystkich klientów.", "pl"),
        ("Rapor tüm müşterilere gönderildi ve çok iyi.", "tr"),
        ("Отчёт был отправлен всем клиентам.", "ru"),
        ("報告書はすべての顧客に送られました。", "ja"),
        ("12345", "und"),
    ],
)
def test_languages_are_told_apart(text: str, code: str) -> None:
    assert t.detect_language(text)[0] == code


def test_sentences_survive_abbreviations_numbers_and_markdown() -> None:
    text = "# Title\n\nDr. Smith paid 3.50 EUR, i.e. too much. **Why?** Nobody knows.\n\n- first item\n- second item\n"
    text += "\n| a | b |\n"
    assert t.sentences(text) == [
        "Dr. Smith paid 3.50 EUR, i.e. too much.", "Why?", "Nobody knows.", "first item", "second item",
    ]  # fmt: skip


async def test_the_output_limit_holds_and_other_models_are_refused() -> None:
    request = CompletionRequest("extractive-1", "x", max_output_tokens=13, inputs={"content": DOCUMENT})
    made = await Providers(WorkerSettings()).get("local").complete(request, lambda _text: None)
    assert (made.finish_reason, made.output_tokens <= 15) == ("length", True)
    with pytest.raises(ProviderError, match="no model"):
        await ask("summarize", model="gpt")


async def test_the_simulated_provider_fails_and_answers_by_seed() -> None:
    settings = WorkerSettings(
        sim_models='{"m": {"failure_rate": 0.5, "failures": ["rate_limited"], "retry_after_ms": 9}}'
    )
    sim = Providers(settings).get("sim")
    fates: list[Any] = []
    for key in map(str, range(40)):
        made = await asyncio.gather(
            sim.complete(CompletionRequest("m", "Good day.", key=key), lambda _text: None), return_exceptions=True
        )
        fate: Any = made[0]
        fates.append(fate)
        assert isinstance(fate, Completion) or (fate.retryable, fate.retry_after_ms) == (True, 9)
    assert 8 < sum(isinstance(fate, Completion) for fate in fates) < 32
    with pytest.raises(ProviderError) if not isinstance(fates[0], Completion) else contextlib.nullcontext():
        await sim.complete(CompletionRequest("m", "Good day.", key="0"), lambda _text: None)


def test_only_configured_providers_are_available(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "ANTHROPIC", "GOOGLE", "COHERE"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
    assert Providers(WorkerSettings()).available() == ("local",)
    keyed = WorkerSettings(anthropic_api_key="k", openai_base_url="http://127.0.0.1:1")
    assert Providers(keyed).available() == ("local", "openai", "anthropic")
