"""Secrets: the eight types, what each must hold, and a value that shows itself to nobody.

Names and fields are those of `SecretStore.put`. A `Secret` says its type and no more: it has no dictionary,
does not pickle, and its repr holds none of its values. They come out by `Secret.reveal` alone.
"""

import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NoReturn, get_args

from loom_nb.errors import LoomUsageError

SecretType = Literal[
    "password",
    "api_key",
    "basic_auth",
    "bearer_token",
    "oauth2_client_credentials",
    "ssh_private_key",
    "aws_sigv4",
    "jwt_signing_key",
]
SECRET_TYPES: tuple[SecretType, ...] = get_args(SecretType)
MAX_CHARS = 65_536
"""Of one field."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What a type of secret holds."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    """Those that nobody may read; the rest, such as a user name or a region, is no secret by itself."""


FIELDS: Mapping[SecretType, Fields] = MappingProxyType(
    {
        "password": Fields(("value",), hidden=("value",)),
        "api_key": Fields(("value",), hidden=("value",)),
        "basic_auth": Fields(("username", "password"), hidden=("password",)),
        "bearer_token": Fields(("token",), ("expires_at",), hidden=("token",)),
        "oauth2_client_credentials": Fields(
            ("client_id", "client_secret", "token_url"), ("scopes",), hidden=("client_secret",)
        ),
        "ssh_private_key": Fields(("key_pem",), ("passphrase",), hidden=("key_pem", "passphrase")),
        "aws_sigv4": Fields(
            ("access_key_id", "secret_access_key"),
            ("session_token", "region", "service"),
            hidden=("secret_access_key", "session_token"),
        ),
        "jwt_signing_key": Fields(
            ("private_key_pem", "algorithm"),
            ("key_id", "issuer", "audience", "subject", "ttl_seconds"),
            hidden=("private_key_pem",),
        ),
    }
)
ALGORITHMS = ("RS256", "ES256", "HS256", "EdDSA")
"""Of a `jwt_signing_key` (RFC 7518, RFC 8037)."""


class Secret:
    """One secret. Make it with `secret(...)`, which checks the fields.

    Two of them are equal if their types and values are; the comparison takes the same time wherever they
    differ.
    """

    __slots__ = ("_values", "type")

    type: SecretType
    _values: tuple[tuple[str, str], ...]

    def __init__(self, of: SecretType, values: Mapping[str, str]) -> None:
        object.__setattr__(self, "type", of)
        object.__setattr__(self, "_values", tuple(sorted(values.items())))

    def reveal(self, field: str = "value") -> str:
        """The value of a field, in clear; empty where an optional one was not given.

        Raises:
            LoomUsageError: this type has no such field.
        """
        known = FIELDS[self.type]
        if field not in (*known.required, *known.optional):
            fields = ", ".join((*known.required, *known.optional))
            raise LoomUsageError(f"a secret of type {self.type} has no {field!r}", cause=f"it has: {fields}")
        return dict(self._values).get(field, "")

    def hidden(self) -> tuple[str, ...]:
        """All its values that nobody may read, for redaction."""
        hidden = FIELDS[self.type].hidden
        return tuple(value for name, value in self._values if name in hidden and value)

    def to_json(self) -> bytes:
        """For sealing."""
        import msgspec

        return msgspec.json.encode({"type": self.type, **dict(self._values)})

    @classmethod
    def from_json(cls, text: bytes) -> "Secret":
        """What `to_json` wrote."""
        import msgspec

        fields = msgspec.json.decode(text, type=dict[str, str])
        return secret(fields.pop("type"), fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.to_json(), other.to_json())

    def __hash__(self) -> int:
        return hash((self.type, self._values))

    def __repr__(self) -> str:
        return f"<Secret {self.type}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret does not change: rotate it in its store")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a secret does not change")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memory: object) -> "Secret":
        return self

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


def secret(of_type: str, fields: Mapping[str, object]) -> Secret:
    """A secret whose fields have been checked.

    Args:
        of_type: one of `SECRET_TYPES`.
        fields: text each; `scopes` may be a list of texts, `ttl_seconds` and `expires_at` may be numbers.

    Raises:
        LoomUsageError: the type is not known, or a field is missing, unknown or of the wrong form. The
            message names the field and never its value; nor do the frames that it comes through hold one.
    """
    made = _checked(of_type, fields)
    del fields
    if isinstance(made, LoomUsageError):
        raise made
    return made


def _checked(of_type: str, fields: Mapping[str, object]) -> Secret | LoomUsageError:
    """The secret, or what is wrong: an error without the frames that looked at the values."""
    try:
        return _made(of_type, fields)
    except LoomUsageError as error:
        return error.with_traceback(None)


def _made(of_type: str, fields: Mapping[str, object]) -> Secret:
    of = next((name for name in SECRET_TYPES if name == of_type), None)
    if of is None:
        types = ", ".join(SECRET_TYPES)
        raise LoomUsageError(f"there is no secret of type {_word(of_type)}", cause=f"types: {types}")
    known = FIELDS[of]
    unknown = sorted(fields.keys() - {*known.required, *known.optional})
    if unknown:
        names = ", ".join((*known.required, *known.optional))
        raise LoomUsageError(
            f"a secret of type {of} has no {', '.join(map(_word, unknown))}", cause=f"it has: {names}"
        )
    values = {name: _text(of, name, value) for name, value in fields.items() if value not in (None, "", [])}
    missing = [name for name in known.required if not values.get(name)]
    if missing:
        raise LoomUsageError(f"a secret of type {of} needs {', '.join(missing)}")
    for name, value in values.items():
        if (wrong := _wrong(of, name, value)) is not None:
            raise LoomUsageError(f"{name} of a secret of type {of} {wrong}")
    return Secret(of, values)


def _word(given: object) -> str:
    """A word that is none of ours, as a message may repeat it: a value that stands in its place is not."""
    text = str(given)
    return text if re.fullmatch(r"[a-z_]{1,30}", text) else "of that name"


def _text(of: SecretType, name: str, value: object) -> str:
    if isinstance(value, bool):
        raise LoomUsageError(f"{name} of a secret of type {of} is text, not {value.__class__.__name__}")
    if isinstance(value, int | float) and name in ("ttl_seconds", "expires_at"):
        return f"{value:.15g}"
    if name == "scopes" and isinstance(value, Iterable) and not isinstance(value, str):
        return " ".join(str(one) for one in value)
    if not isinstance(value, str):
        raise LoomUsageError(f"{name} of a secret of type {of} is text, not {value.__class__.__name__}")
    return value if name.endswith("key_pem") else value.strip("\r\n")


_PEM = re.compile(
    r"\s*-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----\s.+-----END [A-Z0-9 ]*PRIVATE KEY-----\s*", re.DOTALL
)
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,9})?")
_NEAR = ("localhost", "127.0.0.1", "::1")


def _wrong(of: SecretType, name: str, value: str) -> str | None:
    """What is wrong with a value, in words that do not hold it."""
    if len(value) > MAX_CHARS:
        return f"is longer than {MAX_CHARS:,} characters"
    if re.search("[\0\ud800-\udfff]", value):
        return "holds a NUL character or a lone surrogate"
    return _CHECKS.get((of, name), _one_line)(value)


def _one_line(value: str) -> str | None:
    return "must be one line" if re.search(r"[\r\n]", value) else None


def _header_safe(value: str) -> str | None:
    return None if re.fullmatch(r"[\x21-\x7e]+", value) else "must be printable ASCII without blanks"


def _user_name(value: str) -> str | None:
    return "must hold no colon (RFC 7617)" if ":" in value else _one_line(value)


def _pem(value: str) -> str | None:
    return None if _PEM.fullmatch(value) else "is not a private key in PEM form"


def _algorithm(value: str) -> str | None:
    return None if value in ALGORITHMS else f"is one of {', '.join(ALGORITHMS)}"


def _seconds(value: str) -> str | None:
    return None if _NUMBER.fullmatch(value) else "is a number of seconds"


def _anything(_: str) -> None:
    return None


def _token_url(value: str) -> str | None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        return "is not an address"
    if not host or parts.username is not None or parts.fragment:
        return "is an address with a host, and without a user and a fragment"
    safe = parts.scheme == "https" or (parts.scheme == "http" and host in _NEAR)
    return None if safe else "must begin with https://"


_CHECKS: Mapping[tuple[SecretType, str], Callable[[str], str | None]] = MappingProxyType(
    {
        ("api_key", "value"): _header_safe,
        ("bearer_token", "token"): _header_safe,
        ("bearer_token", "expires_at"): _seconds,
        ("basic_auth", "username"): _user_name,
        ("oauth2_client_credentials", "token_url"): _token_url,
        ("ssh_private_key", "key_pem"): _pem,
        **{
            ("aws_sigv4", name): _header_safe
            for name in (*FIELDS["aws_sigv4"].required, *FIELDS["aws_sigv4"].optional)
        },
        ("jwt_signing_key", "algorithm"): _algorithm,
        ("jwt_signing_key", "private_key_pem"): _anything,
        ("jwt_signing_key", "ttl_seconds"): _seconds,
    }
)
"""What a field must be besides one line of text; a key of HS256 is anything."""
