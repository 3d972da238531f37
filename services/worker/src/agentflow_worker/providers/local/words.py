"""Function words by language: they carry grammar, not topic, and tell a language from a dozen words."""
# ruff: noqa: RUF001

from __future__ import annotations

from typing import Final

_WORDS: Final[dict[str, str]] = {
    "en": """
        a about above after again all also although am an and another any are as at away be because been before
        being below between both but by can cannot could did do does doing done down during each either else every
        few first for from further get gets given go had has have having he her here hers him his how however i if
        in into is it its itself just last least less let like made make many may me might more most much must my
        near neither never next no nor not now of off often on once one only onto or other others our out over own
        per rather said same second see several shall she should since so some still such than that the their them
        then there these they this those three through to together too toward two under until up upon us use used
        using very was we well were what when where whether which while who whom whose why will with within without
        would yes yet you your
    """,
    "de": """
        aber alle als also am an auch auf aus bei beim bin bis bist da damit dann das dass dein dem den der des
        dessen die dies diese dieser dieses doch dort du durch ein eine einem einen einer eines er es etwas euer für
        gegen haben hat hatte hier ich ihm ihn ihr ihre im in ist ja jede jeder jedes kann kein keine können man
        mehr mein mit muss nach nicht noch nun nur ob oder ohne sehr sein seine sich sie sind so über um und uns
        unser unter vom von vor war waren was wenn werden wie wieder wir wird wurde wurden zu zum zur zwischen
    """,
    "fr": """
        a à ainsi alors après au aussi autre aux avant avec avoir c ce ces cette celui chaque ci comme d dans de des
        donc dont du elle elles en entre est et était être eux fait il ils j je jusqu l la le les leur leurs lui m
        mais me même mes moins mon n ne nos notre nous on ont ou où par pas pendant peu plus pour pourquoi qu quand
        que quel quelle qui s sa sans se ses si son sont sous sur ta te tes toi tous tout toute très tu un une vers
        vos votre vous y
    """,
    "es": """
        a al algo ante antes aquel así aunque bien cada como con contra cual cuando de del desde donde dos el él
        ella ellas ellos en entre era eran es esa ese eso esta está están este esto estos fue ha había han hasta hay
        la las le les lo los más me mi mientras muy nada ni no nos nosotros nuestra nuestro o otra otro para pero
        poco por porque pues que qué quien se según ser si sí sin sobre son su sus también tanto te tiene todo todos
        tras tu un una uno unos y ya yo
    """,
    "it": """
        a ad agli ai al alla alle allo anche avere c che chi ci ciascuno come con contro cui da dagli dai dal dalla
        degli dei del della delle dello di dopo dove due e è ed era essere fino fra gli ha hanno ho i il in io la le
        lei li lo loro lui ma mentre mi molto ne negli nei nel nella nelle no noi non nostro o ogni oltre per perché
        però più poi prima quale quando quanto quella quello questa questo qui se senza si sia sono sua su sul sulla
        suo tra tutti tutto un una uno voi
    """,
    "pt": """
        a ao aos após as até cada com como contra da das de dela dele depois do dos e é ela ele eles em entre era
        essa esse esta está estão este eu foi foram há isso isto já lhe mais mas me mesmo meu muito na nas não nem
        no nos nós nossa nosso o os ou outra outro para pela pelo pelos por porque quando que quem se sem ser seu
        seus sido sobre são sua suas também te tem ter toda todo todos um uma você
    """,
    "nl": """
        aan al alle als altijd andere ben bij daar dan dat de der deze die dit doch door dus een en er geen had haar
        heb hebben heeft hem het hier hij hoe hun ik in is ja je kan kon maar me meer men met mij mijn moet na naar
        niet niets nog nu of om omdat onder ons ook op over reeds te tegen toch toen tot u uit uw van veel voor want
        waren was wat we wel werd wezen wie wij wil worden wordt zal ze zei zelf zich zij zijn zo zonder zou
    """,
    "sv": """
        alla allt att av blev bli blir de dem den denna deras dess det detta dig din dina ditt du där då efter ej
        eller en er ett från för ha hade han hans har hon honom hur här i icke inte ingen inom jag ju kan kunde man
        med mellan men mig min mitt mot mycket ni nu när någon något och om oss på samma sedan sig sin sina sitt
        själv skulle som så till under upp ut utan vad var vara varje vem vi vid vilka är
    """,
    "da": """
        af alle alt anden at blev blive bliver da de dem den denne der deres det dette dig din dit dog du efter
        eller en end er et for fra ham han hans har havde have hende her hun hvad hvis hvor i ikke ind jeg jer jo
        kunne man mange med meget men mig min mine mit mod ned noget nogle nu når og også om op os over på selv sig
        sin sine skal skulle som sådan thi til ud under var ved vi vil ville vores være været
    """,
    "pl": """
        a aby ale bardzo bez bo być by był była było były ci co czy dla do gdy gdzie go i ich ile im innych ja jak
        jako je jednak jego jej jest jeszcze jeśli już każdy kiedy kto która które który lub ma mi mnie może można
        na nad nie nich niż o od ona oni oraz po pod przed przez przy są się tak także tam te tego tej ten też to tu
        tych tylko tym w we wszystko z za ze że
    """,
    "fi": """
        ei eivät emme en et ettei että he heidän hän hänen ja jo joka jos jota jotka kanssa kaikki kuin kun mutta me
        mikä minä mitä mukaan myös ne niin niiden noin nyt näin ole olen oli olla olisi olivat on ovat se sekä sen
        siellä siinä sitä tai tämä tässä vaan vain voi voidaan vuoden yli
    """,
    "tr": """
        ama ancak bir bu böyle çok da daha de değil diye en fakat gibi hem her için ile ise kadar ki mi mu mı nasıl
        ne neden o olan olarak olduğu onu onun sadece şu sonra tüm var ve veya ya yok
    """,
}
STOPWORDS: Final[dict[str, frozenset[str]]] = {code: frozenset(words.split()) for code, words in _WORDS.items()}

# after these a full stop ends no sentence
_ABBREVIATIONS: Final = """
    mr mrs ms dr prof sr jr st vs e.g i.e eg ie no nr nos fig figs vol approx est cf resp dept ed eds p pp sec ch par
    rev gen col capt lt sgt hon pres gov rep sen mt ft tel fax ext phone mob
    abs art ziff nr bd bde hg hrsg str pl tel hr fr frl dipl ing rer nat habil phil jur med bzw ca ggf vgl gem inkl exkl
    zzgl abzgl sog allg evtl entspr insb lt mio mrd tsd z.b d.h i.d.r u.a.m o.ä s.o s.u z.t z.hd i.a i.v geb gest
    m mm mme mlle mlles mgr me pr env tél av bd boul réf cf art chap éd p.ex c.-à-d ste
    sra srta sres d dª dra ud uds vd vds núm pág págs tel avda admón art cap p.ej ee aprox dto
    sig sigg dott dott.ssa sig.ra sigra ing avv arch geom rag on pag pagg tel p.es cfr art int p.zza
    exmo exma dr dra eng av tel pág art núm
    dhr mevr mw drs ir mr bijv nl blz tel nr t.a.v m.b.t i.v.m d.w.z o.a a.u.b
    np tzn ul tel godz nr tj dr prof im św pl al os woj
    t.ex bl.a dvs kl nr tel f.eks ca jf pga mht
    esim puh nro ks mm
    sn dr av cad sok tel no örn bkz
    т.е т.д т.п ул тел руб стр напр им г гг акад проф д см рис
    jan feb mar apr jun jul aug sep sept okt oct nov dec dez déc févr janv juil ene abr ago gen mag giu lug ott dic
    mrt mei maj
"""
ABBREVIATIONS: Final = frozenset(_ABBREVIATIONS.split())
# these may also be the last word of a sentence
_ENDING: Final = """
    etc usw ecc osv enz itd itp jne ym yms vb u.a u.ä et al bl.a m.m e.a inc ltd co corp llc plc gmbh u.s u.k a.m p.m
    a.s s.a s.l s.p.a b.v n.v i.d.r d.c
"""
ENDING: Final = frozenset(_ENDING.split())
_MONTHS: Final = """
    january february march april may june july august september october november december
    januar jänner februar märz mai juni juli oktober dezember
    janvier février mars avril juin juillet août septembre octobre novembre décembre
    enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre
    gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre
    januari februari maart mei juni juli augustus oktober
    stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia
    jahrhundert jahrhunderts
"""
MONTHS: Final = frozenset(_MONTHS.split())
# `im 2. Stock`, `den 3. plats`
_BEFORE_ORDINALS: Final = """
    im am der die das dem den des zum zur vom ab bis seit jeder jede jedes jeden jedem ein eine einen einem einer eines
    ihr ihre ihren sein seine seinen unser unsere dieser diese dieses diesem diesen den det till fra fra på
"""
BEFORE_ORDINALS: Final = frozenset(_BEFORE_ORDINALS.split())
