"""The rules: what secrets look like.

Those of our own come first and give their ids to what they find; the rest is the catalogue of vendors' keys that
``libs/shared/generate_dlp_catalogue.py`` takes from Betterleaks. All are run by RE2, so that each takes linear time
whatever the text, and only in texts that hold one of the rule's keywords.
"""

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, Final

import re2  # type: ignore[import-untyped]

_UUID: Final = re.compile(rb"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLACEHOLDER: Final = re.compile(rb"(?i)example|change|your|placeholder|redacted|dummy|x{4}|\*{3}|\.{3}|1234567|abcdef")
_WEAK: Final = re.compile(rb"(?i)\W*(pass(word)?|passwd|pwd|secret|token|changeme|test(ing)?|user|admin|root)\W*")
_SPACE: Final = r"(?:\s|\\[tnr])"
#: A name and its value in code, JSON, YAML, environment files, headers and queries.
_ASSIGN: Final = r"\\?[\"']?\s{0,4}(?:=>|:=|=|:)\s{0,4}\\?[\"']?"


@dataclass(frozen=True)
class Rule:
    """What one kind of secret looks like.

    Args:
        id: as it is reported.
        pattern: RE2; the first group is the secret, the whole match where there is none.
        keywords: a text that matches holds one of them.
        any_case: the keywords are lower-case, and stand for every case.
        token: the keywords are how the secret itself begins, so they are looked for in encoded forms too.
        entropy: bits a character; what has less is no secret.
        is_secret: has the last word on what matched.
        apart: a letter or digit right before it makes it part of something else.
    """

    id: str
    pattern: str
    keywords: tuple[bytes, ...]
    any_case: bool = False
    token: bool = False
    entropy: float = 0.0
    is_secret: Callable[[bytes], bool] | None = None
    apart: bool = True

    @cached_property
    def compiled(self) -> Any:
        """Compiled when a keyword is met for the first time: most never are."""
        return re2.compile(self.pattern.encode())

    def spans(self, raw: bytes) -> list[tuple[int, int]]:
        """Where the rule's secrets stand."""
        spans: list[tuple[int, int]] = []
        group = min(self.compiled.groups, 1)
        for match in self.compiled.finditer(raw):
            start, end = match.span(group if match.group(group) is not None else 0)
            found = raw[start:end]
            if self.apart and raw[max(0, start - 1) : start].isalnum():
                continue
            if (self.entropy and entropy(found) < self.entropy) or (self.is_secret and not self.is_secret(found)):
                continue
            spans.append((start, end))
        return spans


def entropy(found: bytes) -> float:
    """Shannon entropy, bits a byte."""
    size = len(found)
    return -sum(count / size * math.log2(count / size) for count in Counter(found).values()) if size else 0.0


def _is_bearer(found: bytes) -> bool:
    # "Bearer authentication" is prose: a token has a digit, mixed case inside, or is long.
    token = re.split(rb"\s|\\[tnr]", found)[-1]
    rest = token[1:]
    return (
        len(token) >= 20
        or any(48 <= letter <= 57 for letter in token)
        or (rest.lower() != rest and rest.upper() != rest)
    )


def _is_basic(found: bytes) -> bool:
    try:
        return b":" in base64.b64decode(found, validate=True)
    except binascii.Error:
        return False


def _is_password(found: bytes) -> bool:
    return _WEAK.fullmatch(found) is None and _PLACEHOLDER.search(found) is None


def _is_assigned(found: bytes) -> bool:
    return (
        sum(48 <= letter <= 57 for letter in found) >= 2
        and any(letter >= 65 for letter in found)
        and entropy(found) >= 3.0
        and _UUID.fullmatch(found) is None
        and _PLACEHOLDER.search(found) is None
    )


#: The lengths are the shortest that issuers give; what is longer matches as a whole.
OWN: Final = (
    Rule(
        "openai_api_key",
        r"(sk-(?:[A-Za-z0-9]{20,}|(?:proj|svcacct|admin|ant|or-v1)-[A-Za-z0-9_-]{20,}))",
        (b"sk-",),
        token=True,
    ),
    Rule(
        "github_pat",
        r"(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
        token=True,
    ),
    Rule(
        "aws_access_key_id",
        r"(A[KS]IA[0-9A-Z]{16})(?:[^A-Za-z0-9]|$)",
        (b"AKIA", b"ASIA"),
        token=True,
    ),
    # Longer than a token's id (32 hexadecimal digits), which is no secret.
    Rule("engine_token", r"(engtok_[A-Za-z0-9_-]{43,})", (b"engtok_",), token=True),
    Rule("capability_token", r"(agcap_[A-Za-z0-9_-]{43,})", (b"agcap_",), token=True),
    Rule(
        "bearer_token",
        r"((?:[Bb]earer|BEARER)" + _SPACE + r"{1,8}[A-Za-z0-9._~+/-]{8,}={0,2})",
        (b"earer", b"EARER"),
        is_secret=_is_bearer,
    ),
    Rule(
        "private_key",
        r"-----BEGIN [A-Z ]{0,24}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?s:.)*?-----END [A-Z ]{0,24}PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s\\]{32,})",
        (b"-----BEGIN",),
        token=True,
    ),
    Rule(
        "json_web_token",
        r"(eyJ[A-Za-z0-9_-]{14,}\.ey[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}={0,2})",
        (b"eyJ",),
        token=True,
    ),
    Rule(
        "slack_token",
        r"(xox[baprse](?:\.xox[bp])?-[A-Za-z0-9-]{20,}|xapp-[0-9]-[A-Za-z0-9-]{30,})",
        (b"xoxb-", b"xoxa-", b"xoxp-", b"xoxr-", b"xoxs-", b"xoxe", b"xapp-"),
        token=True,
    ),
    Rule(
        "stripe_api_key",
        r"((?:sk|rk)_live_[A-Za-z0-9]{20,}|whsec_[A-Za-z0-9]{32,})",
        (b"k_live_", b"whsec_"),
        token=True,
    ),
    Rule("gitlab_token", r"(gl(?:pat|dt|rt|ptt|ft|soat|imt|agent|cbt)-[A-Za-z0-9_-]{20,})",
         (b"glpat-", b"gldt-", b"glrt-", b"glptt-", b"glft-", b"glsoat-", b"glimt-", b"glagent-", b"glcbt-"),
         token=True),
    Rule("google_api_key", r"(AIza[A-Za-z0-9_-]{35})(?:[^A-Za-z0-9_-]|$)", (b"AIza",), token=True),
    Rule("google_oauth_secret", r"(GOCSPX-[A-Za-z0-9_-]{28})", (b"GOCSPX-",), token=True),
    Rule("npm_token", r"(npm_[A-Za-z0-9]{36})(?:[^A-Za-z0-9]|$)", (b"npm_",), token=True),
    Rule("rubygems_api_key", r"(rubygems_[a-f0-9]{48})", (b"rubygems_",), token=True),
    Rule("sendgrid_api_key", r"(SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{40,})", (b"SG.",), token=True),
    Rule("hugging_face_token", r"(hf_[A-Za-z0-9]{34,})", (b"hf_",), token=True),
    Rule("replicate_token", r"(r8_[A-Za-z0-9]{37})(?:[^A-Za-z0-9]|$)", (b"r8_",), token=True),
    Rule("groq_api_key", r"(gsk_[A-Za-z0-9]{50,})", (b"gsk_",), token=True),
    Rule("xai_api_key", r"(xai-[A-Za-z0-9]{70,})", (b"xai-",), token=True),
    Rule("digitalocean_token", r"(do[opr]_v1_[a-f0-9]{64})", (b"_v1_",), token=True),
    Rule("databricks_token", r"(dapi[a-f0-9]{32}(?:-\d)?)(?:[^A-Za-z0-9]|$)", (b"dapi",), token=True),
    Rule("notion_token", r"(ntn_[0-9]{11}[A-Za-z0-9]{35})", (b"ntn_",), token=True),
    Rule("planetscale_token", r"(pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,})", (b"pscale_",), token=True),
    Rule("telegram_bot_token", r"([0-9]{8,10}:AA[A-Za-z0-9_-]{33})(?:[^A-Za-z0-9_-]|$)",
         (b":AA",), apart=False),
    Rule("postman_api_key", r"(PMAK-[a-f0-9]{24}-[a-f0-9]{34})", (b"PMAK-",), token=True),
    Rule("square_token", r"(EAAA[A-Za-z0-9_-]{60})(?:[^A-Za-z0-9_-]|$)", (b"EAAA",), entropy=4.0),
    Rule("tailscale_key", r"(tskey-[a-z]{2,12}-[A-Za-z0-9]{8,}-[A-Za-z0-9]{20,})", (b"tskey-",), token=True),
    Rule("twilio_api_key", r"(SK[a-f0-9]{32})(?:[^A-Za-z0-9]|$)", (b"SK",), entropy=3.0),
    Rule("vault_token", r"(hv[sbr]\.[A-Za-z0-9_-]{24,})", (b"hvs.", b"hvb.", b"hvr."), token=True, entropy=3.5),
    Rule("slack_webhook", r"(https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{40,})",
         (b"hooks.slack.com",)),
    Rule("mailgun_key", r"(key-[a-f0-9]{32})(?:[^A-Za-z0-9]|$)", (b"key-",), token=True),
    Rule("aws_secret_access_key",
         r"(?i)aws[_-]?(?:secret[_-]?)?(?:access[_-]?)?key" + _ASSIGN + r"([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)",
         (b"aws",), any_case=True, entropy=3.5),
    Rule("azure_account_key", r"AccountKey=([A-Za-z0-9+/]{80,}={0,2})", (b"AccountKey=",), token=True),
    Rule("url_password",
         r"://[^\s:/?#@\"'<>{}$\\]{0,64}:([^\s:/@\"'<>{}$\\]{4,128})@",
         (b"://",), is_secret=_is_password),
    Rule("basic_credentials",
         r"(?i)authorization" + _ASSIGN + r"basic" + _SPACE + r"{1,4}([A-Za-z0-9+/]{8,}={0,2})",
         (b"basic",), any_case=True, is_secret=_is_basic),
    Rule("generic_secret",
         r"(?i)(?:password|passwd|api[_-]?key|(?:access|auth|refresh)[_-]?token|client[_-]?secret|secret[_-]?key|"
         r"webhook[_-]?secret|signing[_-]?secret|encryption[_-]?key)" + _ASSIGN +
         r"([A-Za-z0-9!#%+/_.~^*@-]{16,200})(?:[^A-Za-z0-9!#%+/_.~^*@(-]|$)",
         (b"passw", b"apikey", b"api_key", b"api-key", b"s_token", b"s-token", b"stoken", b"h_token", b"h-token",
          b"htoken", b"_secret", b"-secret", b"tsecret", b"ksecret", b"gsecret", b"secret_key", b"secret-key",
          b"secretkey", b"encryption_key", b"encryption-key", b"encryptionkey"),
         any_case=True, is_secret=_is_assigned),
)  # fmt: skip


def _of_catalogue(entry: dict[str, Any]) -> Rule:
    """A rule of the catalogue; its keywords are lower-case there and get their own case where the pattern has one."""
    pattern, keywords = entry["regex"], entry["keywords"]
    cased = []
    if "(?i" not in pattern:
        for keyword in keywords:
            at = pattern.lower().find(keyword)
            if at < 0:
                break
            cased.append(pattern[at : at + len(keyword)].encode())
    exact = len(cased) == len(keywords)
    return Rule(
        entry["id"],
        pattern,
        tuple(cased) if exact else tuple(keyword.encode() for keyword in keywords),
        any_case=not exact,
        token=exact and all(len(keyword) >= 4 for keyword in keywords),
        entropy=entry["entropy"],
        apart=False,
    )


def catalogue() -> tuple[Rule, ...]:
    """Vendors' keys."""
    text = resources.files("agentos_shared.dlp").joinpath("catalogue.json").read_text()
    return tuple(_of_catalogue(entry) for entry in json.loads(text))
