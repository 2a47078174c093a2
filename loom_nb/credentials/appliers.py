"""Appliers: a secret becomes what goes over the wire, for one request to one place.

Pure, but for OAuth2, which asks its token server through a function that is handed in. Where an API key goes
is told by the binding, which is sealed with it: nobody who makes a request chooses that. What comes out holds
the secret in clear and stays in the process that sends the request.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

from loom_nb.credentials.policies import SecretFacts
from loom_nb.credentials.secrets import Secret
from loom_nb.errors import CredentialError

TOKEN_SECONDS_OF_JWT = 300.0
"""How long a signed token is good, where the secret does not say."""


@dataclass(frozen=True, slots=True, repr=False)
class Outgoing:
    """The request that a secret is applied to, as it will be sent."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __repr__(self) -> str:
        return f"<Outgoing {self.method}>"


@dataclass(frozen=True, slots=True, repr=False)
class Material:
    """What is put into a request. It holds the secret."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """In place of those of the same name."""
    query: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    """Goes before the path."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Of a form or of a JSON object."""
    hidden: tuple[str, ...] = ()
    """What nobody may read, for redaction, besides the values of the secret itself."""

    def __repr__(self) -> str:
        names = (*self.headers, *self.query, *(["path"] if self.path else []), *self.fields)
        return f"<Material {', '.join(names)}>"

    def put_into(self, request: Outgoing) -> Outgoing:
        """The request with the secret in it.

        Raises:
            CredentialError: the body is neither a form nor a JSON object, and a field goes there.
        """
        added = {name.lower() for name in self.headers}
        headers = {name: value for name, value in request.headers.items() if name.lower() not in added}
        url = _with_path(_with_query(request.url, self.query), self.path)
        body = _with_fields(request, self.fields) if self.fields else request.body
        return replace(request, url=url, headers={**headers, **self.headers}, body=body)


Applier = Callable[[Secret, SecretFacts, Outgoing, float], Material]
"""(secret, facts, request, seconds since 1970) → what is put into it. Raises `CredentialError`."""


def applied(secret: Secret, facts: SecretFacts, request: Outgoing, now: float) -> Material:
    """What a secret puts into a request, by its type and by what its binding says.

    Not for `oauth2_client_credentials`: see `OAuth2Tokens`.

    Raises:
        CredentialError: it has expired, a library for it is missing, or it is not for HTTP at all.
    """
    applier = HTTP_APPLIERS.get(secret.type)
    if applier is None or (facts.binding.apply and secret.type != "api_key"):
        how = f" as {facts.binding.apply}" if facts.binding.apply else ""
        raise CredentialError(f"{facts.scope}, of type {secret.type}, does not go over HTTP{how}")
    return applier(secret, facts, request, now)


def basic(secret: Secret, facts: SecretFacts, request: Outgoing, now: float) -> Material:
    """Basic authentication (RFC 7617), in UTF-8."""
    pair = f"{secret.reveal('username')}:{secret.reveal('password')}".encode()
    told = base64.b64encode(pair).decode()
    return Material({"authorization": f"Basic {told}"}, hidden=(told,))


def bearer(secret: Secret, facts: SecretFacts, request: Outgoing, now: float) -> Material:
    """A bearer token (RFC 6750). Raises `CredentialError` if it has expired."""
    ends = secret.reveal("expires_at")
    if ends and float(ends) <= now:
        title = f"the token of {facts.scope} has expired"
        raise CredentialError(title, fixes=[f"%loom key rotate {facts.scope}"])
    return Material({"authorization": f"Bearer {secret.reveal('token')}"})


def api_key(secret: Secret, facts: SecretFacts, request: Outgoing, now: float) -> Material:
    """An API key, where the binding says: as a bearer token if it says nothing.

    In an address servers write it into their logs: a header is better where there is a choice.
    """
    key = secret.reveal()
    way, _, place = facts.binding.apply.partition(":")
    match way:
        case "header":
            name, templated, template = place.partition("=")
            return Material({name.lower(): _filled(template, key) if templated else key})
        case "query":
            return Material(query={place: key}, hidden=(quote(key, safe=""),))
        case "path":
            return Material(path=_filled(place, quote(key, safe="")), hidden=(quote(key, safe=""),))
        case "body":
            return Material(fields={place: key})
        case _:
            return Material({"authorization": f"Bearer {key}"})


def _filled(template: str, value: str) -> str:
    return template.replace("{value}", value)


def sigv4(secret: Secret, facts: SecretFacts, request: Outgoing, now: float) -> Material:
    """AWS Signature Version 4, by `botocore` (the extra `aws`).

    Service and region are those of the secret, or else of the host: `sts.eu-north-1.amazonaws.com`.

    Raises:
        CredentialError: botocore is missing, or it is not told which service and region.
    """
    try:
        from botocore.auth import S3SigV4Auth, SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        raise CredentialError("SigV4 needs botocore", fixes=["pip install 'loom-nb[aws]'"]) from None
    from datetime import UTC, datetime

    service, region = _service(secret, facts, request.url)
    token = secret.reveal("session_token")
    keys = Credentials(secret.reveal("access_key_id"), secret.reveal("secret_access_key"), token or None)
    auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(keys, service, region)
    # the steps one by one, since all of them together take the clock from elsewhere and write logs
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    signed = AWSRequest(request.method, request.url, headers=_to_sign(request), data=request.body)
    signed.context["timestamp"] = moment
    added = {"x-amz-date": moment} | ({"x-amz-security-token": token} if token else {})
    if service == "s3":
        added["x-amz-content-sha256"] = auth.payload(signed)
    for name, value in added.items():
        signed.headers[name] = value
    signature = auth.signature(auth.string_to_sign(signed, auth.canonical_request(signed)), signed)
    names = auth.signed_headers(auth.headers_to_sign(signed))
    told = f"Credential={auth.scope(signed)}, SignedHeaders={names}, Signature={signature}"
    return Material({**added, "authorization": f"AWS4-HMAC-SHA256 {told}"}, hidden=(signature,))


_AMAZON = re.compile(
    r"https?://(?:[^/?#]*\.)?(?P<service>[a-z0-9-]+)\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?"
    r"(?::\d+)?(?:[/?#]|$)",
    re.ASCII | re.IGNORECASE,
)
_COMPUTED = frozenset({"x-amz-date", "x-amz-security-token", "x-amz-content-sha256"})


def _to_sign(request: Outgoing) -> dict[str, str]:
    """The headers that nobody changes on the way."""
    stay = ("content-type", "content-md5", "range")
    headers = {name.lower(): value for name, value in request.headers.items()}
    return {
        name: value
        for name, value in headers.items()
        if (name in stay or name.startswith("x-amz-")) and name not in _COMPUTED
    }


def _service(secret: Secret, facts: SecretFacts, url: str) -> tuple[str, str]:
    service, region = secret.reveal("service"), secret.reveal("region")
    if (not service or not region) and (host := _AMAZON.match(url)):
        service, region = service or host["service"].lower(), region or host["region"].lower()
    if not service or not region:
        missing = " and ".join(
            name for name, value in (("service", service), ("region", region)) if not value
        )
        raise CredentialError(
            f"{facts.scope} does not say which {missing} of AWS it signs for",
            cause="the name of the host does not say it either",
            fixes=[f"%loom key rotate {facts.scope}"],
        )
    return service, region


def jwt_bearer(secret: Secret, facts: SecretFacts, request: Outgoing, now: float) -> Material:
    """A signed JSON web token (RFC 7519) as bearer token, by `joserfc` (the extra `auth`)."""
    token = signed_token(secret, now)
    return Material({"authorization": f"Bearer {token}"}, hidden=(token,))


def signed_token(secret: Secret, now: float) -> str:
    """The token: `iat`, `exp` and `jti`, and what the secret says of issuer, audience, subject and key id.

    Raises:
        CredentialError: the key does not fit the algorithm, or `joserfc` is missing.
    """
    import uuid

    lasts = float(secret.reveal("ttl_seconds") or TOKEN_SECONDS_OF_JWT)
    claims: dict[str, Any] = {"iat": int(now), "exp": int(now + lasts), "jti": str(uuid.uuid4())}
    for claim, name in (("iss", "issuer"), ("aud", "audience"), ("sub", "subject")):
        if value := secret.reveal(name):
            claims[claim] = value
    header = {"alg": secret.reveal("algorithm"), "typ": "JWT"}
    if kid := secret.reveal("key_id"):
        header["kid"] = kid
    payload = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
    return signed(header, payload, secret.reveal("private_key_pem"))


def signed(header: Mapping[str, str], payload: bytes, key: str) -> str:
    """A payload, signed: JWS in its compact form (RFC 7515).

    Args:
        header: of the token; `alg` is one of `ALGORITHMS`.
        payload: anything.
        key: in PEM form; of HS256 the text itself.

    Raises:
        CredentialError: the key does not fit the algorithm, or `joserfc` is missing. No word of the key.
    """
    try:
        from joserfc import jws
        from joserfc.errors import JoseError
        from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
    except ImportError:
        raise CredentialError("JWT needs joserfc", fixes=["pip install 'loom-nb[auth]'"]) from None
    import warnings

    algorithm = header["alg"]
    kinds: dict[str, Any] = {"RS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey, "HS256": OctKey}
    try:
        with warnings.catch_warnings(action="ignore"):  # such as that EdDSA has a new name, not known yet
            one = kinds[algorithm].import_key(key)
            return str(jws.serialize_compact(dict(header), payload, one, algorithms=[algorithm]))
    except (JoseError, ValueError, TypeError) as error:
        what = f"the key does not sign with {algorithm}"
        raise CredentialError(what, cause=type(error).__name__) from None


HTTP_APPLIERS: Mapping[str, Applier] = {
    "basic_auth": basic,
    "bearer_token": bearer,
    "api_key": api_key,
    "aws_sigv4": sigv4,
    "jwt_signing_key": jwt_bearer,
}
"""By type; for `oauth2_client_credentials` see `OAuth2Tokens`, passwords and keys of SSH are not for HTTP."""


# -- where it goes ---------------------------------------------------------------------------------------


def _with_query(url: str, given: Mapping[str, str]) -> str:
    """The address with these fields, in place of those of the same name; all else as it was."""
    if not given:
        return url
    address, mark, fragment = url.partition("#")
    address, _, query = address.partition("?")
    return f"{address}?{_merged(query, given)}{mark}{fragment}"


def _with_path(url: str, before: str) -> str:
    if not before:
        return url
    origin, path = _split(url)
    return f"{origin}{before.rstrip('/')}{path if path.startswith('/') else '/' + path}"


def _split(url: str) -> tuple[str, str]:
    """(scheme and host, the rest)"""
    start = url.index("://") + 3
    end = min((at for mark in "/?#" if (at := url.find(mark, start)) >= 0), default=len(url))
    return url[:end], url[end:]


def _with_fields(request: Outgoing, given: Mapping[str, str]) -> bytes:
    kind = next((value for name, value in request.headers.items() if name.lower() == "content-type"), "")
    kind = kind.partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded":
            return _merged(request.body.decode("ascii"), given).encode("ascii")
        if kind == "application/json" or kind.endswith("+json"):
            document = json.loads(request.body or b"{}")
            if isinstance(document, dict):
                return json.dumps({**document, **given}, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        pass
    raise CredentialError(
        "the key goes into a field of the body, and the body is neither a form nor a JSON object",
        fixes=("content-type: application/json", "content-type: application/x-www-form-urlencoded"),
    )


def _merged(query: str, given: Mapping[str, str]) -> str:
    kept = [one for one in query.split("&") if one and unquote_plus(one.partition("=")[0]) not in given]
    return "&".join(
        [*kept, *(f"{quote_plus(name)}={quote(value, safe='')}" for name, value in given.items())]
    )
