"""The value of a secret on its way in: what is asked for, where it may be found, and what is wrong with it.

Pure but for reading the file that a line names. No message holds a value.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from loom_nb.credentials.secrets import ALGORITHMS, FIELDS, SecretType
from loom_nb.errors import LoomUsageError
from loom_nb.notebook import cell as cells
from loom_nb.notebook import key_line as lines
from loom_nb.notebook.key_line import KeyLine
from loom_nb.questions import Question

MOST_BYTES = 100_000
"""Of a file that holds a secret."""


def main_field(of: SecretType) -> str:
    """The field of a type that is the secret itself."""
    return next(name for name in FIELDS[of].required if name in FIELDS[of].hidden)


def question_for(of: SecretType, names: Sequence[str], name: str, told: str, asked_by: str) -> Question:
    """The question for some fields of a secret: one hidden line, or a form whose secret fields are hidden."""
    if list(names) == [main_field(of)] and main_field(of) not in _LONG:
        title = f"{name}: its {_TITLES.get(of, of)}"
        return Question(asked_by, "secret", title, text=told, asked_by=asked_by)
    schema = {
        "type": "object",
        "required": [one for one in names if one in FIELDS[of].required],
        "properties": {one: _property(of, one) for one in names},
    }
    title = f"{name}: {_TITLES.get(of, of)}"
    return Question(asked_by, "form", title, text=told, schema=schema, asked_by=asked_by)


_TITLES = {
    "password": "password",
    "api_key": "API key",
    "basic_auth": "user name and password",
    "bearer_token": "bearer token",
    "oauth2_client_credentials": "OAuth2 client",
    "ssh_private_key": "private SSH key",
    "aws_sigv4": "AWS access key",
    "jwt_signing_key": "key that signs JWTs",
}
_LONG = frozenset({"key_pem", "private_key_pem"})
_ABOUT = {
    "key_pem": "In PEM form, with its lines -----BEGIN and -----END.",
    "private_key_pem": "In PEM form; of HS256 the secret itself.",
    "passphrase": "Of the private key, where it has one.",
    "expires_at": "In seconds since 1970 (UTC).",
    "token_url": "https://…",
    "scopes": "With blanks between them.",
    "ttl_seconds": "How long a token is good for.",
    "session_token": "Of temporary credentials.",
}


def _property(of: SecretType, name: str) -> dict[str, Any]:
    title = "private key" if name in _LONG else name.replace("_", " ")
    made: dict[str, Any] = {"type": "string", "title": title}
    if name in _ABOUT:
        made["description"] = _ABOUT[name]
    if name == "algorithm":
        return {"enum": list(ALGORITHMS), "title": "algorithm"}
    if name in FIELDS[of].hidden:
        made["writeOnly"] = True
    if name in _LONG:
        made["maxLength"] = 65_536
    return made


def complaint(of: SecretType, error: LoomUsageError) -> str:
    """What is wrong with a secret, as `field: what`; never a value."""
    field, marked, rest = error.title.partition(f" of a secret of type {of} ")
    if marked and field in (*FIELDS[of].required, *FIELDS[of].optional):
        return f"{field}: {rest}"
    needs, marked, names = error.title.partition(f"a secret of type {of} needs ")
    if marked and not needs:
        return "; ".join(f"{name}: this is needed" for name in names.split(", "))
    return error.title


def given_fields(line: KeyLine, of: SecretType, environ: Mapping[str, str]) -> dict[str, object]:
    """The fields that the flags of a line say where to find.

    Raises:
        LoomUsageError: one cannot be found, or a hidden one stands in the line itself.
    """
    found: dict[str, object] = {}
    for flag, fetch in _FETCH.items():
        for text in line.flags.get(flag, ()):
            field, equals, where = text.partition("=")
            known = (*FIELDS[of].required, *FIELDS[of].optional)
            if not equals or field not in known:
                field, where = main_field(of), text
            if flag == "--field":
                field, where = _plain_field(text, of)
            found[field] = fetch(where, environ)
    return found


def _plain_field(text: str, of: SecretType) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    known = FIELDS[of]
    open_ones = [one for one in (*known.required, *known.optional) if one not in known.hidden]
    if field in known.hidden:
        raise LoomUsageError(
            f"--field: {field} is secret, and a cell is saved with the notebook",
            cause="if that was it, take it out of the cell and have a new one made where it comes from",
            fixes=[f"--from-env {field}=VARIABLE", "leave it out: it is asked for, hidden"],
        )
    if not equals or field not in open_ones:
        raise LoomUsageError(
            f"--field takes NAME=VALUE of a secret of type {of}",
            cause=f"names: {', '.join(open_ones) or 'none: all of it is secret'}",
        )
    return field, value


def _from_env(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip()
    if value:
        return value
    near = cells.near(name, [one for one, text in environ.items() if text.strip()], cutoff=0.7)
    if not name.isidentifier() or lines.looks_like_a_value(name):
        raise LoomUsageError("--from-env takes the name of a variable", fixes=["--from-env GITHUB_TOKEN"])
    raise LoomUsageError(
        f"{name} is not set in the environment of this kernel", fixes=[f"--from-env {one}" for one in near]
    )


def _from_dotenv(text: str, _: Mapping[str, str]) -> str:
    from loom_nb.notebook.dotenv import value_in

    file, colon, name = text.rpartition(":")
    if not colon or not file or not name:
        raise LoomUsageError("--from-dotenv takes FILE:NAME", fixes=["--from-dotenv .env:GITHUB_TOKEN"])
    return value_in(Path(file).expanduser(), name)


def _from_file(text: str, _: Mapping[str, str]) -> str:
    path = Path(text).expanduser()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise LoomUsageError(f"{path} holds no secret", cause=f"it has more than {MOST_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoomUsageError(f"{path} cannot be read", cause=type(error).__name__) from None


_FETCH: Mapping[str, Callable[[str, Mapping[str, str]], str]] = {
    "--field": lambda text, _: text,
    "--from-env": _from_env,
    "--from-dotenv": _from_dotenv,
    "--from-file": _from_file,
}
