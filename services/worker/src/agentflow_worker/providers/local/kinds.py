"""Kinds of documents and the signs of each: titles, phrases and shapes, in seven languages.

A sign is a pattern with a weight. A single word that a text may use in passing weighs little; what hardly stands in
any other kind of document (an invoice number, "hereinafter", a closing formula) weighs much.
"""
# ruff: noqa: RUF001

from __future__ import annotations

import functools
import math
import re
from typing import Final

OPENING_CHARS: Final = 400
USUAL_WORDS: Final = 600  # a longer text has more room for a sign by chance

_SIGNS: Final[dict[str, tuple[tuple[float, str], ...]]] = {
    "contract": (
        (
            2.0,
            r"\A[^.]{0,120}\b(?:\w*vertrag|agreement|contract|contrat|contrato|contratto|overeenkomst|umowa|avtal)\b",
        ),
        (2.5, r"\bthis (?:\w+ ){0,3}(?:agreement|contract|lease)\b|\bentered into (?:by|between|on)\b"),
        (2.0, r"\bhere(?:by|inafter|in|to)\b|\bwitness whereof\b|\bgoverning law\b|\bgoverned by the laws?\b"),
        (1.0, r"\b(?:the|both|either|each) part(?:y|ies)\b|\bparties (?:agree|may|shall)\b"),
        (1.0, r"\bshall (?:be|not|pay|have|remain|indemnify|provide)\b"),
        (1.0, r"\b(?:landlord|tenant|lessor|lessee|licensor|licensee|contractor|buyer and|seller and)\b"),
        (0.7, r"\bterminat(?:e|ed|ion)\b|\bliabilit(?:y|ies)\b|\bnotice period\b"),
        (
            2.5,
            r"\b(?:miet|kauf|arbeits|dienst|werk|rahmen|lizenz|darlehens|dienstleistungs)?vertrag\b(?=.{0,80}zwischen)",
        ),
        (1.5, r"\bvertragspartei\w*|\bvertragspartner\w*|\bgerichtsstand\b|\bnachfolgend\b|\bvertragslaufzeit\b"),
        (1.0, r"\b(?:ver)?mieter\w*|\bauftrag(?:nehmer|geber)\w*|\barbeit(?:nehmer|geber)\w*|\blizenzgeber\w*"),
        (1.0, r"^\s*§{1,2}\s*\d+|\bkündigungsfrist\b|\bhaftung\b"),
        (2.5, r"\bcontrat de\b|\bbail d'habitation\b|\bci-après\b|\bil (?:a été|est) convenu\b"),
        (1.0, r"\bles parties\b|\ble (?:preneur|bailleur|prestataire|locataire)\b|\brésiliation\b|^\s*article \d+"),
        (2.5, r"\bcontrato de\b|\bcláusulas?\b|\breunidos\b|\bmanifiestan\b"),
        (1.0, r"\blas partes\b|\barrenda(?:dor|tario)\b|\ben adelante\b|\brescisión\b"),
        (2.5, r"\bcontratto di\b|\bsi conviene\b|\bforo competente\b"),
        (1.0, r"\ble parti\b|\blocatore\b|\bconduttore\b|\brecesso\b"),
        (2.5, r"\bovereenkomst\b|\bhierna te noemen\b|\bcontratante\b|\bcontratada\b"),
        (1.0, r"\bpartijen\b|\bopdracht(?:gever|nemer)\b|\b(?:ver)?huurder\b|\bopzegging\b|\bas partes\b|\brescisão\b"),
    ),
    "invoice": (
        (3.0, r"\binvoice (?:no|number|nr|date|#)\W{0,4}\S*\d|\brechnungs(?:nummer|nr|datum)\W{0,4}\S*\d"),
        (3.0, r"\bfacture (?:n°|no|nº|numéro)\W{0,3}\S*\d|\bfactura (?:n\.?º|no|núm|número)\W{0,4}\S*\d"),
        (3.0, r"\bfattura n\W{0,3}\S*\d|\bfactuur(?:nummer|datum)\W{0,3}\S*\d|\bfatura n\W{0,3}\S*\d"),
        (2.0, r"\b(?:amount|total|balance) due\W{0,12}\d|\bsub-?total\W{0,12}\d|\btotal t\.?t\.?c\b|\btotal h\.?t\b"),
        (2.0, r"\b(?:rechnungs|gesamt|end)betrag\W{0,12}\d|\bzwischensumme\b|\bbase imponible\b|\bimponibile\b"),
        (
            1.0,
            r"\b(?:zzgl|inkl)\W{0,2}\d+\s?% (?:mwst|ust)|\b(?:vat|mwst|ust|tva|iva|btw)\W{0,3}\(?\d+(?:[.,]\d+)?\s?%",
        ),
        (1.0, r"\bpayment terms\b|\bpayable within\b|\bzahlbar (?:innerhalb|bis)\b|\bzahlungsziel\b|\béchéance\b"),
        (1.0, r"\bvencimiento\b|\bscadenza\b|\bvervaldatum\b|\bbill to\b|\bleistungszeitraum\b|\btotaalbedrag\b"),
        (1.0, r"\bqty\b|\bunit price\b|\beinzelpreis\b|\bprix unitaire\b|\bprecio unitario\b|\bprezzo unitario\b"),
        (0.5, r"\binvoice\b|\brechnung\b|\bfacture\b|\bfactura\b|\bfattura\b|\bfactuur\b|\bfatura\b"),
        (0.5, r"\d[.,]\d\d\s*(?:€|eur|usd|\$|chf|£)?\s*\|?\s*$"),
    ),
    "incident": (
        (2.0, r"\b(?:incident|accident|outage) report\b|\b(?:unfall|störungs|schadens|vorfall)s?bericht\b"),
        (2.0, r"\brapport d'(?:incident|accident)\b|\binforme de(?:l)? (?:incidente|accidente)\b"),
        (2.0, r"\broot cause\b|\bpost-?mortem\b|\bursachenanalyse\b|\bcause racine\b|\bcausa raíz\b|\bcausa raiz\b"),
        (1.5, r"\bincidents?\b|\bstörung(?:sbericht)?\b|\bvorfalls?\b|\bincidentes?\b|\bstoring\b|\bincidente\b"),
        (1.5, r"\boutages?\b|\bdowntime\b|\bunavailable\b|\bausfall\b|\bpanne\b|\bdisservizio\b|\bcaída\b"),
        (
            1.5,
            r"\bINC-?\d|\bsev(?:erity)?[- ]?\d\b|\blessons learned\b|\bcorrective actions?\b|\bactions correctives\b",
        ),
        (1.0, r"\brestor(?:ed|ation)\b|\bmitigat\w+|\brolled back\b|\bbehoben\b|\bwiederhergestellt\b|\brétabli\w*"),
        (1.0, r"\brestablec\w+|\bripristin\w+|\bhersteld\b|\baccident\b|\binjur(?:y|ed|ies)\b|\bunfall\w*|\bhergang\b"),
        (1.0, r"\baffected (?:customers|users|systems)\b|\bimpact\b|\bbetroffen\w*|\bduplicate|\bdeclined\b"),
        (0.7, r"\b\d\d:\d\d(?: ?uhr| ?utc| ?cet| ?h\b)?.{0,40}\b(?:alert|monitor|rest|ausf|alarm|panne|alerta)"),
        (0.7, r"\btimeline\b|\bon-call\b|\balert(?:ed|s)?\b|\bmonitoring\b|\bmaßnahmen\b|\bchronologie\b"),
    ),
    "letter": (
        (2.5, r"^\s*dear\b|^\s*sehr geehrte\w*|^\s*liebe[rs]? |^\s*(?:chère?|madame|monsieur)\b|^\s*szanown\w+"),
        (2.5, r"^\s*(?:estimad|querid)[oa]s?\b|^\s*muy señor|^\s*(?:gentile|egregi[oa]|spett\.)|^\s*geachte\b"),
        (2.5, r"^\s*(?:prezad|car)[oa]s? |^\s*exm[oa]\b"),
        (2.5, r"\byours (?:sincerely|faithfully|truly)\b|^\s*(?:kind|best|warm) regards\b|^\s*sincerely\b"),
        (2.5, r"\bmit freundlichen grüßen\b|\bhochachtungsvoll\b|\bveuillez agréer\b|\bsalutations distinguées\b"),
        (
            2.5,
            r"^\s*(?:atentamente|cordialement)\b|\bcordial(?:i)? salud?[oi]\b|\bdistinti saluti\b|\bcordiali saluti\b",
        ),
        (
            2.5,
            r"\bmet vriendelijke groet\w*|\bhoogachtend\b|\batenciosamente\b|\bz poważaniem\b|\bvänliga hälsningar\b",
        ),
        (0.7, r"\bI am writing\b|\bwe are writing\b|\bthank you for your letter\b|\benclosed\b|\banbei\b|\bci-joint\b"),
        (0.7, r"^\s*(?:re|subject|betreff|objet|asunto|oggetto|betreft)\s*:"),
    ),
    "email": (
        (2.0, r"^\s*(?:from|von|de|van|da)\s*:.*\n\s*(?:to|an|à|para|aan|a|sent|gesendet)\s*:"),
        (2.0, r"\b(?:wrote|schrieb|a écrit|escribió|ha scritto|schreef)\b.{0,60}:\s*$|^\s*>+ \S"),
        (1.0, r"^\s*(?:cc|bcc|subject|betreff|objet|asunto|oggetto|onderwerp)\s*:"),
        (1.0, r"^\s*(?:hi|hello|hallo|bonjour|hola|ciao)\b|^\s*(?:cheers|best|viele grüße|bien à vous|saludos)\b"),
    ),
    "manual": (
        (3.0, r"\b(?:user|owner'?s|instruction|operating) (?:manual|guide|instructions)\b|\bquick start guide\b"),
        (3.0, r"\b(?:bedienungs|betriebs|gebrauchs|montage)an(?:leitung|weisung)\b|\bmode d'emploi\b"),
        (3.0, r"\bmanuel d'utilisation\b|\bmanual d[eo] (?:usuario|instrucciones|usuário)\b|\bmanuale d'uso\b"),
        (3.0, r"\bgebruiksaanwijzing\b|\bhandleiding\b|\bistruzioni per l'uso\b"),
        (1.5, r"\b(?:press|hold|turn|insert|unplug|plug in|attach|switch (?:on|off)) (?:the|and|down|it)\b"),
        (1.5, r"\b(?:drücken|stecken|schalten|halten|entfernen|schließen|setzen) sie\b"),
        (1.5, r"\b(?:appuyez|branchez|débranchez|insérez|retirez)\b|\b(?:pulse|presione|conecte|desconecte|inserte)\b"),
        (1.5, r"\b(?:premere|collegare|scollegare|inserire)\b|\bdruk op\b|\b(?:pressione|desligue)\b"),
        (1.0, r"\bwarning[!:]|\bcaution\b|\bdo not (?:use|immerse|touch|expose|open)\b|\bsicherheitshinweise?\b"),
        (1.0, r"\bachtung[!:]|\bwarnung[!:]|\bavertissement\b|\badvertencia\b|\bavvertenz[ae]\b|\bwaarschuwing\b"),
        (0.6, r"\b(?:battery|button|appliance|the device|gerät|taste|appareil|aparato|apparecchio|apparaat)\b"),
        (0.6, r"\bfig(?:ure|\.)? ?\d|\babb(?:ildung|\.) ?\d|^\s*(?:step|schritt|étape|paso) \d"),
    ),
    "support": (
        (
            2.0,
            (
                r"\bfrequently asked\b|\bfaqs?\b|\bhelp (?:cent(?:er|re)|article|page)\b"
                r"|\bwas this (?:article|page) helpful"
            ),
        ),
        (
            2.0,
            (
                r"\bhäufig(?:e|e gestellte) fragen\b|\bhilfe-?(?:center|bereich|seite)\b"
                r"|\bcentre d'aide\b|\bcentro de ayuda\b"
            ),
        ),
        (1.5, r"\bhow (?:do|can) (?:i|we|you)\b|\bwie kann ich\b|\bcomment (?:puis-je|faire)\b|\bcómo puedo\b"),
        (1.5, r"\bcontact (?:us|support|our support)\b|\bsupport (?:team|request|ticket)\b|\bkundenservice\b"),
        (
            1.0,
            (
                r"\bsign in\b|\blog in\b|\byour account\b|\bsettings\b|\breset your password\b"
                r"|\bihr konto\b|\beinstellungen\b"
            ),
        ),
        (0.7, r"\b(?:click|tap|select|choose)\b|\bklicken sie\b|\bcliquez\b|\bhaga clic\b"),
    ),
    "report": (
        (2.0, r"\bexecutive summary\b|\b(?:annual|quarterly|progress|status|monthly) report\b|\bmanagement summary\b"),
        (2.0, r"\b(?:jahres|quartals|geschäfts|zwischen|sach)bericht\b|\brapport annuel\b|\binforme (?:anual|de)\b"),
        (1.0, r"\bfindings\b|\brecommend(?:ation|ations|s)?\b|\bmethodology\b|\bconclusions?\b|\bwe recommend\b"),
        (1.0, r"\bempfehlung\w*|\bergebnisse\b|\bfazit\b|\bsynthèse\b|\brecommandations\b|\bconclusiones\b"),
        (0.5, r"\breport\b|\bbericht\b|\brapport\b|\binforme\b|\brelazione\b|\bverslag\b"),
    ),
    "resume": (
        (3.0, r"\bcurriculum vitae\b|\blebenslauf\b|\brésumé of\b|\breferences available\b"),
        (1.5, r"\b(?:work|professional) experience\b|\bemployment history\b|\bberufserfahrung\b|\bwerdegang\b"),
        (1.5, r"\bexpérience professionnelle\b|\bexperiencia laboral\b|\besperienze? (?:professionale|lavorativa)\b"),
        (1.0, r"^\W*(?:education|skills|languages|ausbildung|kenntnisse|sprachen|formation|compétences|formación)\W*$"),
        (0.7, r"\b(?:19|20)\d\d\s*[-–]\s*(?:present|today|heute|aujourd'hui|actualidad|(?:19|20)\d\d)\b"),
    ),
    "minutes": (
        (
            3.0,
            (
                r"\bminutes of\b|\bmeeting minutes\b|\bsitzungsprotokoll\b"
                r"|\bprocès-verbal\b|\bcompte rendu de\b|\bacta de\b"
            ),
        ),
        (1.5, r"^\W*(?:attendees|present|apologies|teilnehmer(?:innen)?|anwesend|présents|asistentes|presenti)\b\W*:"),
        (
            1.0,
            r"\bagenda\b|\btagesordnung\b|\bordre du jour\b|\borden del día\b|\bTOP \d|\badjourned\b|\bbeschlossen\b",
        ),
        (1.0, r"\bmotion (?:carried|passed)\b|\baction items?\b|\bnext meeting\b|\bnächste sitzung\b"),
    ),
    "recipe": (
        (2.5, r"^\W*(?:ingredients|zutaten|ingrédients|ingredientes|ingredienti|ingrediënten)\b"),
        (1.5, r"\bpreheat\b|\bbackofen\b|\bpréchauffez\b|\bprecalent\w+|\bpreriscald\w+"),
        (1.0, r"\b\d+ ?(?:tbsp|tsp|tablespoons?|teaspoons?|cups?|el|tl|esslöffel|teelöffel|cuillères?|cucharadas?)\b"),
        (1.0, r"\b(?:simmer|stir|whisk|bake|chop|verrühren|zubereitung|mélangez|hornear|mescolare)\b"),
    ),
    "policy": (
        (
            3.0,
            r"\bprivacy (?:policy|notice)\b|\bterms (?:of (?:service|use)|and conditions)\b|\bdatenschutzerklärung\b",
        ),
        (2.0, r"\ballgemeine geschäftsbedingungen\b|\bpolitique de confidentialité\b|\bpolítica de privacidad\b"),
        (1.0, r"\bwe (?:collect|process|share)\b|\bpersonal data\b|\bpersonenbezogene\w*|\bdonnées personnelles\b"),
    ),
    "paper": (
        (1.5, r"^\W*abstract\b|\bet al\.|\bdoi:|\barxiv\b"),
        (
            1.0,
            (
                r"\bhypothes[ie]s\b|\bparticipants\b|\bp ?[<=] ?0?\.\d|\bstatistically significant\b"
                r"|\bour (?:results|method)\b"
            ),
        ),
        (0.7, r"^\W*(?:\d\.? )?(?:introduction|methods?|results|discussion|references)\W*$"),
    ),
    "job": (
        (
            2.5,
            r"\bwe are (?:looking for|hiring)\b|\bjob (?:description|title|posting)\b|\bstellen(?:anzeige|angebot)\b",
        ),
        (2.5, r"\bm/w/d\b|\bwir suchen\b|\boffre d'emploi\b|\boferta de empleo\b"),
        (1.0, r"\bresponsibilities\b|\brequirements\b|\bqualifications\b|\bapply (?:now|by|today)\b|\bfull-time\b"),
        (1.0, r"\bihr profil\b|\bihre aufgaben\b|\bbewerbung\b|\bprofil recherché\b|\bwir bieten\b"),
    ),
    "news": (
        (
            1.5,
            (
                r"\btold reporters\b|\bspokes(?:person|man|woman)\b|\bofficials said\b"
                r"|\bsprecher(?:in)?\b|\bporte-parole\b"
            ),
        ),
        (
            1.0,
            r"\baccording to\b|\bannounced\b|\byesterday\b|\bon (?:mon|tues|wednes|thurs|fri)day\b|\blaut\b|\bselon\b",
        ),
        (1.0, r"\((?:reuters|ap|afp|dpa|efe|ansa)\)"),
    ),
}

# what people call the kinds, beside the kind's own name; the whole label, in lower case
_ALSO: Final = {
    "contract": "agreement lease vertrag mietvertrag kaufvertrag arbeitsvertrag contrat bail contrato contratto "
    "overeenkomst nda",
    "invoice": "bill rechnung facture factura fattura factuur fatura",
    "incident": "incident_report postmortem störung störungsbericht vorfall unfallbericht accident outage incidente",
    "letter": "brief lettre carta lettera correspondence",
    "email": "e-mail mail courriel correo",
    "manual": "instructions handbook guide user_manual user_guide anleitung bedienungsanleitung handbuch manuel "
    "handleiding manuale",
    "support": "faq help support_page help_page help_article support_article hilfe",
    "report": "bericht rapport informe relazione verslag review",
    "resume": "cv résumé curriculum lebenslauf curriculum_vitae",
    "minutes": "protokoll meeting_minutes meeting_notes acta compte_rendu",
    "recipe": "rezept recette receta ricetta",
    "policy": "privacy_policy terms terms_of_service datenschutzerklärung agb",
    "paper": "study article_scientific scientific_paper research_paper",
    "job": "job_ad job_posting vacancy stellenanzeige",
    "news": "news_article article press_release nachricht",
}  # fmt: skip
_NAMES: Final = {name: kind for kind in _SIGNS for name in (kind, *_ALSO.get(kind, "").split())}


def kind_of(label: str) -> str:
    """The kind of document that a label means (`incident report` -> incident); empty for none."""
    words = re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", label.lower())
    whole = _NAMES.get("_".join(words))
    return whole or next((_NAMES[word] for word in words if word in _NAMES), "")


@functools.cache
def _patterns(kind: str) -> tuple[tuple[float, re.Pattern[str]], ...]:
    return tuple((weight, re.compile(sign, re.I | re.M)) for weight, sign in _SIGNS[kind])


def evidence(text: str, kind: str) -> float:
    """How much speaks for a kind: the weights of its signs that the text has, more for one that it opens with."""
    found = 0.0
    for weight, pattern in _patterns(kind):
        places = [match.start() for _, match in zip(range(20), pattern.finditer(text), strict=False)]
        if places:
            opening = 1.5 if places[0] < OPENING_CHARS else 1.0
            found += weight * opening * (1 + 0.3 * math.log2(len(places)))
    words = text.count(" ") + 1
    return float(found / max(1.0, (words / USUAL_WORDS)) ** 0.35)


def document_of(text: str) -> tuple[str, dict[str, float]]:
    """The kind of document and the evidence for each; `document` where nothing speaks clearly for one."""
    found = {kind: evidence(text, kind) for kind in _SIGNS}
    ranked = sorted(found.values(), reverse=True)
    best = max(found, key=lambda kind: found[kind])
    clear = ranked[0] >= 3.0 and ranked[0] >= 1.25 * ranked[1]
    return (best if clear else "document"), found
