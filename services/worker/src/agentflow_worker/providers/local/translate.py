"""A gloss, not a translation: frequent phrases and words from a small glossary, everything else left as it stands.

It exists so that a translation workflow runs offline and its output depends on its input. The output says what it is.
"""

from __future__ import annotations

import re
from typing import Any, Final

from agentflow_worker.providers.local import text as t

_ROWS: Final = """
en|es|fr|de|it|pt
good morning|buenos días|bonjour|guten Morgen|buongiorno|bom dia
thank you|gracias|merci|danke|grazie|obrigado
as soon as possible|lo antes posible|dès que possible|so bald wie möglich|il prima possibile|o mais rápido possível
for example|por ejemplo|par exemple|zum Beispiel|per esempio|por exemplo
there is|hay|il y a|es gibt|c'è|há
there are|hay|il y a|es gibt|ci sono|há
hello|hola|bonjour|hallo|ciao|olá
welcome|bienvenido|bienvenue|willkommen|benvenuto|bem-vindo
please|por favor|s'il vous plaît|bitte|per favore|por favor
yes|sí|oui|ja|sì|sim
no|no|non|nein|no|não
not|no|pas|nicht|non|não
the|el|le|die|il|o
a|un|un|ein|un|um
an|un|un|ein|un|um
and|y|et|und|e|e
or|o|ou|oder|o|ou
but|pero|mais|aber|ma|mas
with|con|avec|mit|con|com
without|sin|sans|ohne|senza|sem
for|para|pour|für|per|para
from|de|de|von|da|de
of|de|de|von|di|de
to|a|à|zu|a|para
in|en|dans|in|in|em
on|en|sur|auf|su|em
at|en|à|bei|a|em
by|por|par|durch|da|por
is|es|est|ist|è|é
are|son|sont|sind|sono|são
was|fue|était|war|era|foi
were|fueron|étaient|waren|erano|foram
be|ser|être|sein|essere|ser
has|tiene|a|hat|ha|tem
have|tienen|ont|haben|hanno|têm
will|va a|va|wird|sarà|vai
can|puede|peut|kann|può|pode
must|debe|doit|muss|deve|deve
i|yo|je|ich|io|eu
you|usted|vous|Sie|Lei|você
we|nosotros|nous|wir|noi|nós
they|ellos|ils|sie|loro|eles
he|él|il|er|lui|ele
she|ella|elle|sie|lei|ela
it|eso|cela|es|esso|isso
this|este|ce|dies|questo|este
that|que|que|dass|che|que
our|nuestro|notre|unser|nostro|nosso
your|su|votre|Ihr|Suo|seu
new|nuevo|nouveau|neu|nuovo|novo
good|bueno|bon|gut|buono|bom
bad|malo|mauvais|schlecht|cattivo|mau
big|grande|grand|groß|grande|grande
small|pequeño|petit|klein|piccolo|pequeno
all|todo|tout|alle|tutto|todo
every|cada|chaque|jeder|ogni|cada
many|muchos|beaucoup|viele|molti|muitos
more|más|plus|mehr|più|mais
very|muy|très|sehr|molto|muito
now|ahora|maintenant|jetzt|ora|agora
today|hoy|aujourd'hui|heute|oggi|hoje
tomorrow|mañana|demain|morgen|domani|amanhã
day|día|jour|Tag|giorno|dia
week|semana|semaine|Woche|settimana|semana
month|mes|mois|Monat|mese|mês
year|año|année|Jahr|anno|ano
time|tiempo|temps|Zeit|tempo|tempo
world|mundo|monde|Welt|mondo|mundo
people|personas|gens|Leute|persone|pessoas
customer|cliente|client|Kunde|cliente|cliente
customers|clientes|clients|Kunden|clienti|clientes
company|empresa|entreprise|Firma|azienda|empresa
service|servicio|service|Dienst|servizio|serviço
product|producto|produit|Produkt|prodotto|produto
order|pedido|commande|Bestellung|ordine|pedido
price|precio|prix|Preis|prezzo|preço
payment|pago|paiement|Zahlung|pagamento|pagamento
account|cuenta|compte|Konto|conto|conta
contract|contrato|contrat|Vertrag|contratto|contrato
report|informe|rapport|Bericht|rapporto|relatório
document|documento|document|Dokument|documento|documento
message|mensaje|message|Nachricht|messaggio|mensagem
system|sistema|système|System|sistema|sistema
data|datos|données|Daten|dati|dados
problem|problema|problème|Problem|problema|problema
error|error|erreur|Fehler|errore|erro
help|ayuda|aide|Hilfe|aiuto|ajuda
work|trabajo|travail|Arbeit|lavoro|trabalho
team|equipo|équipe|Team|squadra|equipe
meeting|reunión|réunion|Besprechung|riunione|reunião
house|casa|maison|Haus|casa|casa
water|agua|eau|Wasser|acqua|água
language|idioma|langue|Sprache|lingua|língua
open|abierto|ouvert|offen|aperto|aberto
closed|cerrado|fermé|geschlossen|chiuso|fechado
first|primero|premier|erste|primo|primeiro
last|último|dernier|letzte|ultimo|último
important|importante|important|wichtig|importante|importante
"""
_TABLE: Final = [line.split("|") for line in _ROWS.strip().splitlines()]
LANGUAGES: Final = tuple(_TABLE[0])


def translate(text: str, target: str, source: str = "") -> dict[str, Any]:
    """{"translation", "source_language", "target_language", "method": gloss|none|unchanged, "coverage": 0..1}."""
    target = t.language_code(target)
    source = t.language_code(source) if source else t.detect_language(text)[0]
    result = {"source_language": source, "target_language": target}
    if source == target:
        return {**result, "translation": text, "method": "unchanged", "coverage": 1.0}
    if target not in LANGUAGES or source not in LANGUAGES:
        return {**result, "translation": text, "method": "none", "coverage": 0.0}
    glossed, coverage = _gloss(text, source, target)
    return {**result, "translation": glossed, "method": "gloss", "coverage": coverage}


def _gloss(text: str, source: str, target: str) -> tuple[str, float]:
    column, wanted = LANGUAGES.index(source), LANGUAGES.index(target)
    glossary: dict[str, str] = {}
    for row in _TABLE[1:]:
        glossary.setdefault(row[column].lower(), row[wanted])
    keys = sorted(glossary, key=lambda key: (-len(key), key))
    pattern = re.compile(r"(?<![\w<:])(?:" + "|".join(map(re.escape, keys)) + r")(?![\w>])", re.I)
    known = 0

    def put(match: re.Match[str]) -> str:
        nonlocal known
        known += len(match.group().split())
        word = glossary[match.group().lower()]
        return word[:1].upper() + word[1:] if match.group()[:1].isupper() and match.group() != "I" else word

    glossed = pattern.sub(put, text)
    total = sum(1 for word in t.words(text) if word[0].isalpha())
    return glossed, round(min(1.0, known / total), 3) if total else 0.0
