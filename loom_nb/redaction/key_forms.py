"""Finds what has the form of a secret that nobody told us of: keys of vendors, passwords behind their names.

A few literal words say where one may begin; only there a rule looks closer, at one run of characters that
belong together. So the work grows with the text and no faster, whatever it holds. What a rule cannot tell
from dates, hashes, names and numbers it leaves.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from loom_nb.redaction.search import Spans, search

SHORTEST = 10
"""Characters of a text that may hold one: a password behind its name."""


@dataclass(frozen=True, slots=True)
class KeyForm:
    """A piece of a text that has the form of a secret."""

    start: int
    end: int
    """Characters of the text."""
    kind: str
    """Of what: "GitHub token"."""


_Place: TypeAlias = tuple[int, int, str]
_Rule: TypeAlias = Callable[[bytes, int], _Place | None]
"""What of a text, in which the rule's word stands at a place, looks like a secret."""


def key_forms(text: str) -> list[KeyForm]:
    """Where a text has what looks like a secret, in order."""
    if len(text) < SHORTEST:
        return []
    data = text.encode("utf-8", "surrogatepass")
    words = _rules()[0](data.lower())
    if not words:
        return []
    places = _places(data, words)
    if len(data) == len(text):
        return [KeyForm(*place) for place in places]
    found, done, chars = [], 0, 0
    for start, end, kind in places:
        chars += _chars(data[done:start])
        length = _chars(data[start:end])
        found.append(KeyForm(chars, chars + length, kind))
        chars, done = chars + length, end
    return found


def without_key_forms(text: str, mark: str = "[secret? {kind}]") -> tuple[str, int]:
    """A text with a mark in place of what looks like a secret, and how often that is."""
    found = key_forms(text)
    if not found:
        return text, 0
    made: list[str] = []
    done = 0
    for one in found:
        made += (text[done : one.start], mark.replace("{kind}", one.kind))
        done = one.end
    return "".join((*made, text[done:])), len(found)


KEY_IN_A_REFUSAL = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key)-[A-Za-z0-9*_\-]{8,}"  # what most vendors hand out, also half masked
    r"|\bAIza[A-Za-z0-9_\-]{20,}"
    r"|(?i:(?<=bearer )[A-Za-z0-9._~+/\-]{8,}=*)"
)
"""Finds more, where a vendor refuses a key and repeats it: there nothing else looks like one."""


def _chars(data: bytes) -> int:
    return len(data.decode("utf-8", "surrogatepass"))


def _places(data: bytes, words: Spans) -> list[_Place]:
    rules = _rules()[1]
    found: list[_Place] = []
    done = 0
    for start, _, word in sorted(words):
        if start < done:
            continue
        place = rules[word](data, start)
        if place is not None and place[0] >= done:
            found.append(place)
            done = place[1]
    return found


@cache
def _rules() -> tuple[Callable[[bytes], Spans], list[_Rule]]:
    """What looks for all words at once, and the rule of each."""
    rules: dict[bytes, _Rule] = {}
    for kind, words, pattern in _VENDORS:
        for word in words.split():
            rules[word.encode()] = _vendor(kind, pattern)
    rules |= dict.fromkeys(_NAMES, _named)
    rules |= {b"://": _in_address, b"-----begin": _private_key, b"bearer": _bearer, b"basic": _basic}
    rules |= {b":aa": _telegram, b"eyj": _jwt}
    return search(list(rules)), list(rules.values())


# -- keys that say whose they are ------------------------------------------------------------------------

_ALNUM = "[A-Za-z0-9]"
_VENDORS: tuple[tuple[str, str, str], ...] = (
    ("AWS access key", "akia asia abia acca", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    ("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{20,255}"),
    ("GitHub token", "github_pat_", r"github_pat_\w{22,255}"),
    (
        "GitLab token",
        "glpat- gldt- glrt- glcbt- glptt- glft- glsoat- gloas- glagent- glimt-",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|oas|agent|imt)-[\w.-]{18,300}",
    ),
    ("Slack token", "xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xoxc- xoxd-", r"xox[a-eoprs]-[\w%-]{10,300}"),
    ("Slack token", "xapp-", r"xapp-\d-[A-Za-z0-9-]{20,300}"),
    ("Slack webhook", "hooks.slack.com/", r"hooks\.slack\.com/(?:services|workflows)/T[\w/+-]{20,100}"),
    ("Discord webhook", "/api/webhooks/", r"/api/webhooks/\d{15,20}/[\w-]{50,90}"),
    ("Stripe key", "sk_live_ rk_live_ sk_test_ rk_test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,250}"),
    ("Stripe webhook secret", "whsec_", r"whsec_[A-Za-z0-9+/]{24,90}={0,2}"),
    ("Google API key", "aiza", r"AIza[\w-]{30,45}"),
    ("Google client secret", "gocspx-", r"GOCSPX-[\w-]{20,40}"),
    ("Google token", "ya29.", r"ya29\.[\w.-]{20,2000}"),
    ("Google token", "1//0", r"1//0[\w-]{40,200}"),
    ("Anthropic key", "sk-ant-", r"sk-ant-[\w-]{16,250}"),
    ("API key", "sk- rk- xai- gsk-", r"(?:sk|rk|xai|gsk)-(?=[A-Za-z_-]*\d)[\w-]{16,300}"),
    ("Groq key", "gsk_", r"gsk_[A-Za-z0-9]{20,100}"),
    ("Perplexity key", "pplx-", r"pplx-[A-Za-z0-9]{32,80}"),
    ("Replicate token", "r8_", r"r8_[A-Za-z0-9]{30,50}"),
    ("Hugging Face token", "hf_ api_org_", r"(?:hf|api_org)_[A-Za-z]*\d?[A-Za-z0-9]{29,80}"),
    ("NVIDIA key", "nvapi-", r"nvapi-[\w-]{40,100}"),
    ("Tavily key", "tvly-", r"tvly-[\w-]{20,80}"),
    ("LangSmith key", "lsv2_", r"lsv2_(?:pt|sk)_[a-z0-9]{20,60}_[a-z0-9]{8,20}"),
    ("Databricks token", "dapi", r"dapi[a-f0-9]{32}(?:-\d)?"),
    ("Grafana token", "glc_ glsa_", r"gl(?:c|sa)_[A-Za-z0-9_+/=]{24,400}"),
    ("Pulumi token", "pul-", r"pul-[a-f0-9]{40}"),
    ("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"do[por]_v1_[a-f0-9]{64}"),
    ("npm token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    ("PyPI token", "pypi-ageichlwas5vcmc", r"pypi-AgEIcHlwaS5vcmc[\w-]{50,400}"),
    ("Docker token", "dckr_pat_ dckr_oat_", r"dckr_[po]at_[\w-]{20,80}"),
    ("SendGrid key", "sg.", r"SG\.[\w-]{16,32}\.[\w-]{32,64}"),
    ("Mailgun key", "key-", r"key-[0-9a-f]{32}"),
    ("Twilio key", "sk", r"SK[0-9a-f]{32}"),
    ("Square token", "sq0atp- sq0csp- sq0idp-", r"sq0(?:atp|csp|idp)-[\w-]{22,60}"),
    ("Shopify token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("Sentry token", "sntrys_ sntryu_", r"sntry[su]_[\w+/=]{40,400}"),
    ("Vault token", "hvs. hvb. hvr.", r"hv[sbr]\.[\w-]{24,300}"),
    ("age key", "age-secret-key-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    ("Postman key", "pmak-", r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    ("Linear key", "lin_api_", r"lin_api_[A-Za-z0-9]{40}"),
    ("Notion token", "ntn_ secret_", r"(?:ntn_[A-Za-z0-9]{40,60}|secret_[A-Za-z0-9]{43})"),
    ("Figma token", "figd_", r"figd_[\w-]{30,60}"),
    ("RubyGems key", "rubygems_", r"rubygems_[a-f0-9]{48}"),
    ("Atlassian token", "atatt3x", r"ATATT3x[\w=-]{60,300}"),
    ("New Relic key", "nrak-", r"NRAK-[A-Z0-9]{27}"),
    ("Supabase token", "sbp_", r"sbp_[a-f0-9]{40}"),
    ("Doppler token", "dp.pt. dp.st. dp.sa.", r"dp\.(?:pt|st|sa)\.[\w.-]{40,80}"),
    ("Fly token", "fm1_ fm2_ fo1_", r"(?:fm[12]|fo1)_[\w+/=-]{40,600}"),
    ("Airtable token", "pat", r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    ("Terraform token", ".atlasv1.", r"\.atlasv1\.[\w-]{50,80}"),
    ("signature of an address", "x-amz-signature=", r"(?i:x-amz-signature)=[0-9a-f]{64}"),
    ("signature of an address", "sig=", r"sig=[A-Za-z0-9%+/]{40,80}(?:=|%3[dD])"),
)
"""Kind; words in small letters; what begins with such a word and stands by itself."""
_BY_ITSELF = {"Slack webhook", "Discord webhook", "Terraform token"}
"""What follows other letters."""


def _vendor(kind: str, pattern: str) -> _Rule:
    before = "" if kind in _BY_ITSELF else r"(?<![A-Za-z0-9_])(?<![A-Za-z0-9]-)"
    rule = re.compile(f"{before}{pattern}(?![A-Za-z0-9])".encode())

    def found(data: bytes, place: int) -> _Place | None:
        match = rule.match(data, place)
        if match is None or len(set(match[0][-12:])) < 2 or b"xxxx" in match[0].lower():
            return None
        return match.start(), match.end(), kind

    return found


_JWT = re.compile(rb"(?<![\w-])eyJ[\w-]{10,16000}\.eyJ[\w-]{10,16000}\.[\w-]{5,16000}")
_TELEGRAM = re.compile(rb"(?<!\d)\d{8,10}:AA[\w-]{32,34}(?![\w-])")


def _jwt(data: bytes, place: int) -> _Place | None:
    match = _JWT.match(data, place)
    return (match.start(), match.end(), "JSON web token") if match else None


def _telegram(data: bytes, place: int) -> _Place | None:
    start = place
    while start > 0 and place - start < 10 and data[start - 1 : start].isdigit():
        start -= 1
    match = _TELEGRAM.match(data, start)
    return (match.start(), match.end(), "Telegram token") if match else None


# -- private keys ----------------------------------------------------------------------------------------

_HEAD = re.compile(rb"-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----")
_BODY = re.compile(rb"[A-Za-z0-9+/=\s\\]{16,}")
_MOST_BODY = 40_000


def _private_key(data: bytes, place: int) -> _Place | None:
    """As far as its last line; where that is missing, as far as its letters go."""
    head = _HEAD.match(data, place)
    if head is None:
        return None
    dashes = data.find(b"-----", head.end(), head.end() + _MOST_BODY)
    foot = b"-----END " + head[1] + b"-----"
    if dashes >= 0 and data.startswith(foot, dashes):
        return place, dashes + len(foot), "private key"
    limit = dashes if dashes >= 0 else min(len(data), head.end() + _MOST_BODY)
    body = _BODY.match(data, head.end(), limit)
    return (place, body.end(), "private key") if body else None


# -- what travels with requests --------------------------------------------------------------------------

_BEARER = re.compile(rb"(?<![A-Za-z0-9])(?i:bearer)[ \t]{1,3}([A-Za-z0-9._~+/-]{8,16000}=*)")
_BASIC = re.compile(rb"(?<![A-Za-z0-9])(?i:basic)[ \t]{1,3}([A-Za-z0-9+/_-]{8,4000}={0,2})(?![A-Za-z0-9])")
_ADDRESS = re.compile(rb"://[^\s/:@'\"<>]{0,100}:([^\s/@'\"{}<>$*\[\]]{3,300})@(?=[\w\[])")


def _bearer(data: bytes, place: int) -> _Place | None:
    match = _BEARER.match(data, place)
    if match is None or not (_mixed(match[1]) or (match[1].isdigit() and len(match[1]) > 15)):
        return None
    return match.start(1), match.end(1), "bearer token"


def _basic(data: bytes, place: int) -> _Place | None:
    """Only what is a name and a password when it is decoded."""
    match = _BASIC.match(data, place)
    if match is None:
        return None
    try:
        said = base64.b64decode(match[1] + b"=" * (-len(match[1]) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    good = b":" in said[:100] and said.isascii() and said.decode().isprintable()
    return (match.start(1), match.end(1), "basic authorization") if good else None


def _in_address(data: bytes, place: int) -> _Place | None:
    match = _ADDRESS.match(data, place)
    if match is None or match[1].lower() in _PLACEHOLDERS or _masked(match[1]):
        return None
    return match.start(1), match.end(1), "password"


# -- behind a name ---------------------------------------------------------------------------------------

_NAMES = tuple(
    b"passw passphrase pwd secret token api_key apikey api-key access_key accesskey access-key private_key"
    b" privatekey credential authkey auth_key authtoken encryption_key signing_key accountkey account_key"
    b" _authtoken authorization subscription-key jwt_key session_key master_key sessionid".split()
)
_NAMED = re.compile(
    rb"(?P<name>[A-Za-z][\w.-]{0,60})(?P<close>[\"']?\]?)"
    rb"(?P<mid>[ \t]{0,20}(?:=>|:=|=|:)[ \t]{0,8}(?:(?i:token|apikey|key)[ \t]{1,8})?)"
    rb"(?:(?:[rbuf]{0,2})[\"'](?P<quoted>[^\"'\s]{6,64})|(?P<bare>[^\s\"'<>{}()\[\],;&`|\\]{6,64}))"
)
"""Of a long value only the beginning: whether it is one is seen there."""
_QUOTED_REST = re.compile(rb"[^\"'\s]*")
_BARE_REST = re.compile(rb"[^\s\"'<>{}()\[\],;&`|\\]*")
_OTHER_NAME = re.compile(
    rb"(?:(?<=[_.-])|(?<=[a-z])(?=[A-Z])|(?<=(?i:token))|(?<=(?i:tokens))|(?<=(?i:secret)))"
    rb"(?i:names?|ids?|types?|counts?|limits?|length|len|files?|path|url|uri|endpoint|expir\w*|version|arn|refs?"
    rb"|fields?|labels?|hints?|policy|age|ttl|size|usage|iz\w*|hash\w*|sha\w*|digest|checksum|fingerprint|class"
    rb"|kind|scopes?|stores?|managers?|providers?|created\w*|updated\w*|prefix|suffix|format|header|var|env|alg"
    rb"|algorithm|budget|rotation\w*|used|left|total|mode|regex|pattern|source|strength|vault|group|rules?)$"
)
_OTHER_LEAD = re.compile(
    rb"(?i:(?:next|page|continuation|sync|cursor|pagination|resume|delta|skip|c?x?srf|start|stop|end|pad|eos|bos"
    rb"|unk|sep|mask|public|no|is|has|max|min|num|total|cancellation|first|last|idempotency)[_-]?(?:page)?[_-]?$)"
)
_SCHEME = re.compile(rb"(?i:bearer|basic|token|digest|apikey|negotiate)$")
_WORDLIKE = re.compile(rb"[A-Za-z_][A-Za-z_.-]*\d{0,2}")
_UUID = re.compile(rb"(?i:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})")
_DATE = re.compile(rb"\d{2,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T_]?[\d:.]*(?:Z|[+-]\d\d:?\d\d)?)")
_REFERENCE = re.compile(
    rb"(?i:\$|%[A-Z_]+%|\w?:\d+:\d+|/|~/|\./|[a-z]:\\|https?:|arn:|file:|env[.:]|vault:|op:|ssm:|sha\d+[:-]|projects/|\w+://"
    rb"|os\.|process\.|self\.|config\.|settings\.|args\.|secrets?\.|0x[0-9a-f]{1,16}$)"
    rb"|[A-Z]\w*(?:Str|String|Bytes|Type|Field|Input|Secret)$"  # the name of a type
)
_PLACEHOLDERS = frozenset(
    b"password passwd secret token pass pwd changeme example user test your-password your_password xxx hidden"
    b" redacted none null undefined string required".split()
)


def _named(data: bytes, place: int) -> _Place | None:
    match = _NAMED.match(data, place)
    if match is None:
        return None
    name, quoted = match["name"], match["quoted"]
    value = quoted if quoted is not None else match["bare"].rstrip(b".:!?")
    start = match.start("bare" if quoted is None else "quoted")
    lead = data[max(0, place - 24) : place]
    if _OTHER_NAME.search(name) or _OTHER_LEAD.search(lead) or _SCHEME.match(value):
        return None
    spaced = match["mid"].endswith(b" ") and b"=" in match["mid"]
    if not _valuable(value, name.lower(), spaced=spaced and quoted is None):
        return None
    end = start + len(value)
    rest = (_BARE_REST if quoted is None else _QUOTED_REST).match(data, match.end())
    if rest is not None and end == match.end():
        end = rest.end()
    return start, end, _kind(name.lower())


def _kind(name: bytes) -> str:
    return "password" if name.startswith((b"pass", b"pwd")) else "value of a secret's name"


def _valuable(value: bytes, name: bytes, *, spaced: bool) -> bool:
    """Whether it looks made up by a machine, or by somebody who was asked for a password.

    Args:
        value: the beginning of it.
        name: in small letters.
        spaced: it stands there as the name of a variable would: `password = other`.
    """
    password = name.startswith((b"pass", b"pwd"))
    if len(value) < (6 if password else 8) or _masked(value) or value.lower() in _PLACEHOLDERS:
        return False
    if _REFERENCE.match(value) or _DATE.fullmatch(value) or not _mixed(value):
        return False
    if name.startswith(b"token") and _UUID.fullmatch(value):
        return False
    if _WORDLIKE.fullmatch(value):
        own = any(word in value.lower() for word in (b"passw", b"secret", b"token", b"key"))
        return password and not own and not spaced and b"." not in value
    return True


def _mixed(value: bytes) -> bool:
    """Letters and digits, or letters of both sizes with signs."""
    letters, digits = re.search(rb"[A-Za-z]", value), re.search(rb"\d", value)
    if letters and digits:
        return True
    return bool(
        re.search(rb"[a-z]", value) and re.search(rb"[A-Z]", value) and re.search(rb"[!#%+/=^?@~]", value)
    )


def _masked(value: bytes) -> bool:
    """`****`, `xxxxxxxx`, `<password>`, `${PASSWORD}`, `{{ password }}`."""
    small = value.lower()
    return (
        len(set(value)) < 4 or b"**" in value or b"xxx" in small or b"..." in value or value[:1] in b"<{$"
        or small.startswith((b"your", b"my_", b"my-", b"[secret", b"[withheld"))
    )  # fmt: skip
