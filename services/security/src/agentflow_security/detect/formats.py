"""Secrets that begin with a prefix of their vendor: one line each, the literal and the rest.

Pure data. The formats are those that the vendors document, or publish for GitHub's secret scanning
partners.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from agentflow_security.detect.findings import words


class Format(NamedTuple):
    literal: str
    pattern: re.Pattern[str]
    certain: bool  # if False the body must look random too, because ordinary words may have the prefix


def _formats(certain: bool, *lines: str) -> list[Format]:
    """Parses lines of a literal, a blank, and the regular expression of the rest."""
    out = []
    for line in lines:
        literal, _, tail = line.partition(" ")
        out.append(Format(literal, re.compile(re.escape(literal) + tail, re.ASCII), certain))
    return out


_W: Final = "[A-Za-z0-9_-]"
FORMATS: Final = [
    *_formats(
        True,
        # cloud
        *(f"{p} [A-Z0-9]{{16}}(?![A-Z0-9])" for p in ("AKIA", "ASIA", "ABIA", "ACCA", "AROA", "AIDA", "AGPA", "ANPA")),
        "ABSK [A-Za-z0-9+/]{60,260}=?=?",
        "amzn.mws. [0-9a-f]{8}-[0-9a-f-]{27}",
        f"AIza {_W}{{35}}",
        f"GOCSPX- {_W}{{28}}",
        f"ya29. {_W}{{20,512}}",
        "LTAI [A-Za-z0-9]{12,26}(?![A-Za-z0-9])",
        "AKID [A-Za-z0-9]{13,40}(?![A-Za-z0-9])",
        "JQQJ99 [A-Za-z0-9]{20,60}",
        *(f"{p}_v1_ [0-9a-f]{{64}}" for p in ("dop", "doo", "dor")),
        "t1. [A-Z0-9a-z_-]{20,}=?=?\\.[A-Z0-9a-z_-]{60,}=?=?",
        "AQVN [A-Za-z0-9_-]{30,40}",
        "YCM [A-Za-z0-9_-]{30,40}",
        "HRKU-AA [A-Za-z0-9_-]{50,70}",
        # source and packages
        *(f"gh{c}_ [A-Za-z0-9]{{30,255}}" for c in "pousr"),
        "github_pat_ [A-Za-z0-9_]{22,255}",
        *(
            f"gl{p}- [A-Za-z0-9_.-]{{20,300}}"
            for p in sorted(words("pat ptt dt rt cbt soat ft imt agent oas ffct rtr"))
        ),
        f"GR1348941 {_W}{{20,50}}",
        "npm_ [A-Za-z0-9]{36}",
        f"pypi-AgE {_W}{{40,1000}}",
        "rubygems_ [0-9a-f]{48}",
        "CLOJARS_ [A-Za-z0-9]{60}",
        f"dckr_ (?:pat|oat)_{_W}{{20,64}}",
        "ATATT3 [A-Za-z0-9_=-]{30,300}",
        "ATCTT3 [A-Za-z0-9_=-]{30,300}",
        "ATBB [A-Za-z0-9]{32}",
        "AKCp [A-Za-z0-9]{60,80}",
        "bkua_ [0-9a-f]{40}",
        f"CCIPAT_ {_W}{{20,100}}",
        *(f"sq{c}_ [0-9a-f]{{40}}" for c in "pau"),
        "oy2 [a-z0-9]{43}(?![a-z0-9])",
        *(f"sgp_ {t}" for t in ("(?:[0-9a-f]{16}|local)_[0-9a-f]{40}", "[0-9a-f]{40}")),
        # chat and mail
        "xox [a-z](?:\\.xox[a-z])?-(?=[A-Za-z-]{0,8}[0-9])[A-Za-z0-9%-]{18,400}",
        "xapp- [0-9]-[A-Za-z0-9-]{20,200}",
        "hooks.slack.com/ (?:services|workflows|triggers)/[A-Za-z0-9+/_-]{20,120}",
        "discord.com/api/webhooks/ [0-9]{17,20}/[A-Za-z0-9_-]{60,80}",
        "discordapp.com/api/webhooks/ [0-9]{17,20}/[A-Za-z0-9_-]{60,80}",
        "webhook.office.com/webhookb2/ [A-Za-z0-9@/-]{60,250}",
        "outlook.office.com/webhook/ [A-Za-z0-9@/-]{60,250}",
        f"SG. {_W}{{16,32}}\\.{_W}{{16,64}}",
        "xkeysib- [0-9a-f]{64}-[A-Za-z0-9]{16}",
        "xsmtpsib- [0-9a-f]{64}-[A-Za-z0-9]{16}",
        "SK [0-9a-f]{32}(?![0-9a-f])",
        # money
        *(f"{p}_{mode}_ [A-Za-z0-9]{{10,250}}" for p in ("sk", "rk", "pk") for mode in ("live", "test", "prod")),
        "whsec_ [A-Za-z0-9+/=_-]{24,128}",
        f"sq0 (?:atp|csp|idp|atb)-{_W}{{22,60}}",
        f"EAAAE {_W}{{55,70}}",
        "shp (?:at|ca|pa|ss|tka)_[0-9a-fA-F]{32}",
        "rzp_ (?:live|test)_[A-Za-z0-9]{14,40}",
        "EZ (?:AK|TK)[A-Za-z0-9]{54}",
        "FLW (?:PUBK|SECK)[A-Za-z_]{0,6}-[A-Za-z0-9]{12,40}(?:-X)?",
        "access_token$ (?:production|sandbox)\\$[0-9a-z]{16}\\$[0-9a-f]{32}",
        # models
        f"sk-ant- {_W}{{20,200}}",
        f"sk-proj- {_W}{{20,250}}",
        "gsk_ [A-Za-z0-9]{40,60}",
        f"xai- {_W}{{60,100}}",
        "pplx- [A-Za-z0-9]{40,60}",
        "r8_ [A-Za-z0-9]{37}",
        "tvly- [A-Za-z0-9-]{20,60}",
        f"pcsk_ {_W}{{40,80}}",
        f"nvapi- {_W}{{50,80}}",
        "lsv2_ (?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}",
        # operations
        *(f"dp.{p}. (?:[a-z0-9_-]{{2,35}}\\.)?[A-Za-z0-9]{{40,44}}" for p in ["pt", "st", "ct", "sa", "scim", "audit"]),
        "dt0c01. [A-Z2-7]{24}\\.[A-Z2-7]{64}",
        "dt0s [0-9]{2}\\.[A-Z2-7]{8}\\.[A-Z2-7]{64}",
        "NR (?:AK|JS|II|IQ|RA|SP|AA)-[A-Za-z0-9_-]{15,60}",
        f"sntrys_ {_W}{{40,300}}",
        "sntryu_ [0-9a-f]{64}",
        *(f"hv{c}. {_W}{{20,300}}" for c in "sbr"),
        f".atlasv1. {_W}{{60,80}}",
        "pul- [0-9a-f]{40}",
        "pscale_ (?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,64}",
        "PMAK- [0-9a-f]{24}-[0-9a-f]{34}",
        "dapi [0-9a-f]{32}(?:-[0-9])?(?![0-9a-f])",
        "tskey- [a-z]{3,10}-[A-Za-z0-9-]{20,80}",
        f"ops_eyJ {_W}{{100,1200}}=?=?",
        "AGE-SECRET-KEY-1 [0-9A-Z]{58}",
        "lin_ (?:api|oauth)_[A-Za-z0-9]{32,64}",
        "secret_ [A-Za-z0-9]{43}(?![A-Za-z0-9])",
        "ntn_ [A-Za-z0-9]{40,60}",
        f"figd_ {_W}{{30,60}}",
        "sbp_ [0-9a-f]{40}",
        f"CFPAT- {_W}{{43}}",
        "sl. [A-Za-z0-9_-]{130,160}",
        "tkn.v1_ [A-Za-z0-9]{60,100}={0,2}",
        "rdme_ [a-z0-9]{70}",
        "sha256~ [A-Za-z0-9_-]{43}",
        "v1.0- [0-9a-f]{24}-[0-9a-f]{146}",
        "shippo_ (?:live|test)_[0-9a-f]{40}",
        "duffel_ (?:live|test)_[A-Za-z0-9_=-]{43}",
        "EAACEdEose0cBA [A-Za-z0-9]{20,300}",
        "AAAAAAAAAAAAAAAAAAAAA [A-Za-z0-9%]{60,120}",
        "LS0tLS1CRUdJTi [A-Za-z0-9+/=]{100,20000}",
        *(f"$krb5{k}$ [A-Za-z0-9$*@:./_-]{{40,4000}}" for k in ("asrep", "tgs", "pa")),
    ),
    *_formats(
        False,
        f"sk- {_W}{{20,200}}",
        "hf_ [A-Za-z0-9]{34}(?![A-Za-z0-9])",
        "glc_ [A-Za-z0-9+/=_-]{32,400}",
        "glsa_ [A-Za-z0-9]{32}_[0-9A-Fa-f]{8}",
        "EAA [A-Za-z0-9]{60,300}",
        "key- [0-9a-f]{32}(?![0-9a-f])",
        "pat [A-Za-z0-9]{14}\\.[0-9a-f]{64}",
    ),
]
