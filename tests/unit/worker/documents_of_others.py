"""Documents of the kinds that people bring, in several languages, as they are after their privacy tokens were set.

kind: what document_analysis should say; `unknown` for what is none of its labels. first: what the summary may begin with
is prose, so these must not stand in it. says: a word that a summary of the document has.
"""
# ruff: noqa: E501

from __future__ import annotations

from typing import Final, NamedTuple

PHONE: Final = "<PHONE_NUMBER:7Q2M4K>"
MAIL: Final = "<EMAIL_ADDRESS:KZ5W3P>"
NAME: Final = "<PERSON:QW7ERT>"
IBAN: Final = "<IBAN_CODE:M4KZ5W>"


class Document(NamedTuple):
    kind: str
    language: str
    says: str
    text: str


LABELS: Final = ["incident report", "contract", "invoice", "letter", "manual"]

DOCUMENTS: Final[dict[str, Document]] = {
    "english lease": Document("contract", "en", "tenant", f"""RESIDENTIAL LEASE AGREEMENT
Northgate Homes Ltd.
Tel. {PHONE}
E-mail: {MAIL}

This Lease Agreement is entered into on 1 May 2026 by and between Northgate Homes Ltd. (hereinafter the Landlord) and {NAME} (hereinafter the Tenant).

1. Premises. The Landlord lets to the Tenant the flat on the second floor of 14 Quay Street, together with one cellar room. The Tenant shall use the premises as a dwelling only.
2. Term. The lease begins on 1 June 2026 and runs for an indefinite time. Either party may terminate it with a notice period of three months to the end of a month.
3. Rent. The monthly rent is GBP 1,250, payable in advance by the third working day of each month to the account {IBAN}. The Tenant shall pay interest of 4 % on arrears.
4. Damage. The Tenant shall report damage to the premises without delay. An incident that makes the flat unusable, such as an outage of the heating for more than two days, reduces the rent for its time.
5. Governing law. This agreement is governed by the laws of England and Wales.
"""),
    "german lease": Document("contract", "de", "Mieter", f"""Mietvertrag
Hausverwaltung Brandt GmbH
Hauptstr. 5, 12345 Neustadt
Tel. {PHONE} Fax {PHONE}
E-Mail: {MAIL}

Zwischen der Hausverwaltung Brandt GmbH, vertreten durch Hrn. Dr. {NAME}, nachfolgend Vermieter genannt, und {NAME}, nachfolgend Mieter genannt, wird folgender Vertrag geschlossen.

§ 1 Mietsache
Der Vermieter überlässt dem Mieter die Wohnung im 2. Stock links, bestehend aus drei Zimmern, Küche, Bad usw. sowie einem Kellerraum. Die Mieträume dürfen nur zu Wohnzwecken genutzt werden, d. h. eine gewerbliche Nutzung bedarf der Zustimmung des Vermieters.

§ 2 Mietzeit
Das Mietverhältnis beginnt am 1. Juni 2026 und läuft auf unbestimmte Zeit. Die Kündigungsfrist beträgt drei Monate zum Ende eines Kalendermonats. Bei einem Ausfall der Heizung von mehr als zwei Tagen mindert sich die Miete entsprechend.

§ 3 Miete
Die Miete beträgt monatlich ca. 890 EUR zzgl. Nebenkosten und ist bis zum dritten Werktag auf das Konto {IBAN} zu zahlen. Gerichtsstand ist Neustadt.
"""),
    "french services contract": Document("contract", "fr", "prestataire", f"""CONTRAT DE PRESTATION DE SERVICES

Entre la société Lumière S.A., dont le siège est à Lyon, représentée par M. {NAME}, ci-après le client, et la société Atelier Nord, représentée par Mme {NAME}, ci-après le prestataire, il a été convenu ce qui suit.

Article 1. Objet
Le prestataire assure l'entretien du site web du client, c'est-à-dire la correction des erreurs et la mise à jour des contenus, env. dix heures par mois.

Article 2. Durée
Le présent contrat est conclu pour une durée d'un an. Les parties peuvent demander sa résiliation par lettre recommandée, avec un préavis de deux mois. En cas de panne du site, le prestataire intervient dans les quatre heures.

Article 3. Droit applicable
Le contrat est soumis au droit français. Tél. {PHONE}
"""),
    "dutch contract": Document("contract", "nl", "opdrachtgever", f"""Overeenkomst van opdracht

De opdrachtgever, dhr. {NAME} te Utrecht, en de opdrachtnemer, mevr. {NAME}, hierna te noemen partijen, komen het volgende overeen.

De opdrachtnemer verzorgt de boekhouding van de opdrachtgever, d.w.z. de aangiften en de jaarrekening. De overeenkomst gaat in op 1 maart 2026 en wordt voor onbepaalde tijd aangegaan. Opzegging is mogelijk met inachtneming van een termijn van twee maanden. Partijen zijn gehouden tot geheimhouding van alle vertrouwelijke gegevens.
Tel: {PHONE}
"""),
    "english invoice": Document("invoice", "en", "invoice", f"""Harbour Print Works
VAT ID: <VAT_NUMBER:A2B3C4>
Phone: {PHONE}

INVOICE
Invoice number: 2026-0417
Invoice date: 2 April 2026
Bill to: Northwind Payments

Description            Qty   Unit price   Amount
Business cards, matt   500   0.12         60.00
Posters A2             40    4.50         180.00
Subtotal                                  240.00
VAT 20 %                                  48.00
Amount due                                288.00

Please pay this invoice within 14 days to the account {IBAN}. Payment terms: late payments bear interest of 8 % a year.
"""),
    "german invoice": Document("invoice", "de", "Rechnungsbetrag", f"""Elektro Sommer GmbH
Tel.: {PHONE}
USt-IdNr. <DE_VAT_ID:K2M3N4>

Rechnung
Rechnungsnummer: R-2026-118
Rechnungsdatum: 14.03.2026

Wir stellen Ihnen für die Reparatur der Klingelanlage im Haus Lindenweg 4 folgende Leistungen in Rechnung.

Pos.  Leistung               Menge  Einzelpreis  Betrag
1     Arbeitszeit            3,5 h  58,00        203,00 €
2     Klingeltaster          2      19,90        39,80 €
Zwischensumme                                    242,80 €
zzgl. 19 % MwSt.                                 46,13 €
Gesamtbetrag                                     288,93 €

Der Rechnungsbetrag ist zahlbar innerhalb von 14 Tagen auf das Konto {IBAN}.
"""),
    "spanish invoice": Document("invoice", "es", "importe", f"""Talleres Marín S.L.
Tel. {PHONE}

FACTURA
Factura n.º 2026/077
Fecha de vencimiento: 30 de abril de 2026

Por la reparación del vehículo y la revisión de los frenos le facturamos los trabajos siguientes.

Concepto             Precio unitario   Importe
Cambio de frenos     140,00            140,00 €
Mano de obra         45,00             135,00 €
Base imponible                         275,00 €
IVA 21 %                               57,75 €
Total                                  332,75 €

Le rogamos que abone el importe en la cuenta {IBAN} antes del vencimiento.
"""),
    "help page about invoices": Document("unknown", "en", "invoice", """# Help center: billing

How do I download an invoice? Sign in to your account, open Settings and choose Billing. Click the invoice that you need, then click Download. Invoices are kept for ten years.

How can I change the address on my invoices? Go to Settings, select Company and enter the new address. It is used for all future invoices. Invoices that were sent already can't be changed.

Why was my payment declined? Your bank may have refused it. Check the card's expiry date, or contact us and our support team will help you. Was this article helpful?
"""),
    "spanish help page": Document("unknown", "es", "contraseña", """Centro de ayuda

¿Cómo puedo cambiar mi contraseña? Inicie sesión, abra los ajustes de su cuenta y haga clic en Seguridad. Escriba la contraseña nueva dos veces y guarde los cambios. Si no recuerda la contraseña anterior, haga clic en Recuperar acceso y siga las instrucciones del mensaje que recibirá.

¿Cómo puedo cerrar mi cuenta? Abra los ajustes, elija Privacidad y confirme que desea cerrarla. Sus datos se borran después de treinta días.
"""),
    "english incident": Document("incident report", "en", "orders", f"""Postmortem: checkout outage of 9 March 2026
On-call: {NAME}, {PHONE}

Between 14:02 UTC and 14:47 UTC customers could not complete purchases. The outage affected all regions, and about 3,100 orders were declined.

The root cause was a database migration that locked the orders table. Monitoring alerted the on-call engineer after four minutes. The migration was rolled back at 14:41 UTC and the service was restored six minutes later.

Corrective actions: migrations run with a lock timeout, and the alert now fires after one minute. Under the contract with our payment provider no penalty is due.
"""),
    "german incident": Document("incident report", "de", "Störung", f"""Störungsbericht Rechenzentrum Süd
Ansprechpartner: {NAME}, Tel. {PHONE}

Am 3. März 2026 kam es um 08:14 Uhr zu einem Ausfall der Kühlung in Halle 2. Betroffen waren 140 Server, die Störung dauerte ca. 50 Minuten. Die Ursache war ein defektes Ventil, das bei der Wartung im Februar nicht geprüft worden war.

Der Vorfall wurde um 08:20 Uhr durch die Überwachung gemeldet. Um 09:04 Uhr war die Störung behoben und die Kühlung wiederhergestellt. Als Maßnahmen werden die Ventile künftig vierteljährlich geprüft, u. a. durch den Hersteller.
"""),
    "italian incident": Document("incident report", "it", "disservizio", """Rapporto sull'incidente del 12 aprile 2026

Alle ore 10:30 si è verificato un disservizio della rete interna. L'incidente ha interessato tre sedi e circa 200 utenti, che non hanno potuto accedere alla posta. La causa è stata un errore di configurazione introdotto durante un aggiornamento.

Il servizio è stato ripristinato alle ore 11:15. Come azione correttiva ogni modifica viene ora verificata dal dott. Rossi prima della messa in opera.
"""),
    "english letter": Document("letter", "en", "grant", f"""{NAME}
14 Quay Street
Tel. {PHONE}

Dear Ms. Okafor,

Thank you for your letter of 3 April. I am writing to tell you that the trustees have agreed to support the reading room with a grant of GBP 4,000 for the coming year. They were moved by what the volunteers have achieved since the flood.

The grant will be paid in two parts, the first in May. Please send us a short note on the work before the second part is due. We would be glad to visit you in the summer, e.g. on the day of the harbour fair.

Yours sincerely,
{NAME}
"""),
    "french letter": Document("letter", "fr", "école", f"""Mme {NAME}
12, av. des Tilleuls
Tél. : {PHONE}

Madame la Directrice,

Je vous remercie de votre accueil lors de la visite de l'école, le 4 mars. Notre fille a été très heureuse de rencontrer ses futurs professeurs, et elle attend la rentrée avec impatience.

Vous trouverez ci-joint le dossier complet, avec les bulletins, les certificats, etc. Nous restons à votre disposition pour tout renseignement complémentaire.

Veuillez agréer, Madame la Directrice, l'expression de mes sentiments distingués.
"""),
    "german letter": Document("letter", "de", "Stelle", f"""{NAME}
Lindenweg 4
D-12345 Neustadt
Tel. {PHONE}

Betreff: Ihr Schreiben vom 2. April

Sehr geehrte Frau Dr. Klein,

vielen Dank für Ihr Schreiben und das freundliche Gespräch in der letzten Woche. Gern nehme ich die Stelle in Ihrem Hause an und beginne, wie besprochen, am 1. Juni. Meine Zeugnisse habe ich diesem Brief beigelegt.

Für Fragen, z. B. zur Einarbeitung, erreichen Sie mich am besten am Nachmittag.

Mit freundlichen Grüßen
{NAME}
"""),
    "german manual": Document("manual", "de", "Gerät", """Bedienungsanleitung Wasserkocher WK 3

Sicherheitshinweise
Achtung! Tauchen Sie das Gerät nie in Wasser. Lassen Sie Kinder nicht unbeaufsichtigt mit dem Gerät arbeiten.

Inbetriebnahme
1. Stecken Sie den Netzstecker in die Steckdose.
2. Füllen Sie höchstens 1,5 l Wasser ein und schließen Sie den Deckel, s. Abb. 2.
3. Drücken Sie die Taste am Griff. Die Lampe leuchtet, und das Gerät schaltet sich nach dem Kochen von selbst ab.

Reinigung
Entkalken Sie das Gerät alle vier Wochen mit Essig oder Zitronensäure.
"""),
    "english manual": Document("manual", "en", "battery", """TrailLight 200 user manual

Warning: do not open the lamp while the battery is charging. Do not expose the lamp to temperatures above 60 degrees.

Getting started
Insert the battery with the contacts facing down and close the cover until it clicks. Press the button once to switch on the lamp, and hold the button for two seconds to switch it off. The battery lasts about nine hours at the lowest level, see fig. 3.

Charging
Plug in the cable and wait until the light turns green. Unplug the lamp before you clean it with a dry cloth.
"""),
    "short story": Document("unknown", "en", "harbour", """The old man came down to the harbour before the gulls were awake. He carried a bucket, a coil of rope and the book that he never read. For forty years he had waited for the same boat, and for forty years the boat had not come.

That morning the fog lay so thick upon the water that he heard the oars before he saw anything. A girl sat in the stern and held a lantern over the waves. She looked at him as if she had known him for a long time, and then she laughed.
"""),
    "italian recipe": Document("unknown", "it", "forno", """Torta di mele

Ingredienti: 3 mele, 200 g di farina, 120 g di zucchero, 2 uova, 80 g di burro, un po' di lievito ecc.

Preriscaldare il forno a 180 gradi. Sbattere le uova con lo zucchero, poi mescolare la farina, il burro fuso e il lievito. Tagliare le mele a fette sottili e disporle sulla pasta. Cuocere nel forno per quaranta minuti circa e lasciare raffreddare prima di servire.
"""),
    "german minutes": Document("unknown", "de", "Verein", f"""Sitzungsprotokoll des Vorstands
Teilnehmer: {NAME}, {NAME}, {NAME}
Tagesordnung: Haushalt, Sommerfest, Verschiedenes

TOP 1: Der Haushalt des Vereins wurde vorgestellt und einstimmig beschlossen. Der Verein hat im letzten Jahr Mio. Schritte, aber wenig Geld gesammelt, sagte der Kassenwart.
TOP 2: Das Sommerfest findet am 12. Juli auf dem Sportplatz statt. Für Getränke, Musik usw. sorgt der Festausschuss.
Die nächste Sitzung ist am 4. Mai.
"""),
    "german car sale": Document("contract", "de", "Fahrzeug", f"""Kaufvertrag über ein gebrauchtes Kraftfahrzeug
Verkäufer: {NAME}, Tel. {PHONE}
Käufer: {NAME}
Der Verkäufer verkauft dem Käufer das Fahrzeug VW Golf, Bj. 2014. Der Kaufpreis beträgt 6.500 EUR. Das Fahrzeug wird unter Ausschluss der Haftung für Sachmängel verkauft. Es ist unfallfrei, soweit dem Verkäufer bekannt ist.
"""),
    "german accident": Document("incident report", "de", "Leiter", f"""Unfallbericht
Gemeldet von {NAME}, Tel. {PHONE}
Am 4. Juni gegen 10 Uhr stürzte ein Mitarbeiter von der Leiter. Er verletzte sich am Arm. Hergang: Die Leiter stand auf nassem Boden. Die Ursache war der fehlende Gummifuß.
"""),
    "polish letter": Document("letter", "pl", "dokumenty", f"""{NAME}
tel. {PHONE}

Szanowny Panie Dyrektorze,

dziękuję za spotkanie w dniu 4 marca. Zgodnie z ustaleniami przesyłam dokumenty, m.in. plan i kosztorys. Proszę o odpowiedź do końca miesiąca.

Z poważaniem
{NAME}
"""),
    "press release": Document("unknown", "en", "Northwind", f"""Northwind opens harbour office

HAMBURG (dpa) - Northwind announced on Monday that it will open an office in the harbour. According to a spokesperson, forty people will work there from autumn. "We are glad to be here," she told reporters.
Press contact: {NAME}, {MAIL}
"""),
    "japanese notice": Document("unknown", "ja", "図書館", """図書館の開館時間が変わります。四月からは午前九時に開館し、午後七時に閉館します。日曜日は午後五時までです。返却ポストはいつでも利用できます。"""),
}  # fmt: skip
