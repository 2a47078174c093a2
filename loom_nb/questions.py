"""What a run asks a person, and the check of what comes back.

A question is a value: it lies in the log until it is answered, so a face that connects later sees
it, and a kernel that restarts finds it again. An answer that does not fit its question is refused.
"""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from loom_nb.border import clean
from loom_nb.errors import AnswerRefused
from loom_nb.messages import Origin

if TYPE_CHECKING:
    from jsonschema import ValidationError

QuestionKind: TypeAlias = Literal["confirm", "choice", "text", "form", "secret", "approval"]
"""Yes or no; one or several of a list; words; fields of a JSON schema; a hidden word; leave for a call."""

Scope: TypeAlias = Literal["once", "call", "tool"]
"""How far an approval reaches: this once; this exact call in this notebook; this tool in this session."""

PreviewKind: TypeAlias = Literal["text", "diff", "code", "command"]

MAX_ANSWER = 100_000
"""Characters of a text that is given as an answer."""


class Option(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the answers that a choice offers."""

    value: str
    label: str = ""
    """What is shown; the value where it is empty."""
    description: str = ""


class Approval(msgspec.Struct, frozen=True, omit_defaults=True):
    """The call that an approval is about: all that a person should see of it."""

    call_id: str
    tool: str
    arguments: dict[str, Any]
    """As the model wrote them, whole; what is left out takes its default."""
    key: str
    """SHA-256 of the tool, its source and the arguments: what an answer is bound to."""
    effects: tuple[str, ...] = ()
    destructive: bool = False
    undoable: bool = False
    reasons: tuple[str, ...] = ()
    """Why it asks, in words."""
    rules: tuple[str, ...] = ()
    """Which rules ask."""
    origins: dict[str, str] = {}
    """Where the arguments come from, where not from the person: {"path": "web:https://…"}."""
    preview: str = ""
    """What would change, or what would run."""
    preview_kind: PreviewKind = "text"
    sandbox: str = ""
    """The level of the sandbox, where a child process would run: "bubblewrap", "landlock", "none"."""
    mode: str = "ask"
    scopes: tuple[Scope, ...] = ("once", "call", "tool")
    """How far a leave may reach for this call."""
    schema: dict[str, Any] = {}
    """JSON schema of the arguments, for a face that lets them be edited."""


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run asks. Faces show it; `session.send(Answer(id, value))` answers it."""

    id: str
    """`a3` for an approval, else `q3`; unique in its session."""
    kind: QuestionKind
    title: str
    text: str = ""
    """More words; not trusted where `origin` is not."""
    options: tuple[Option, ...] = ()
    multiple: bool = False
    """Whether a choice takes several."""
    schema: dict[str, Any] | None = None
    """Of a form: a JSON schema of an object. What it marks `writeOnly`, or with the format `password`, is a
    secret: no error, event or log holds it."""
    default: Any = None
    """What counts when nobody answers in time; None is no answer, and a refusal for an approval."""
    expires: float | None = None
    """Seconds since the epoch, UTC."""
    asked_by: str = ""
    """The tool, or "judge"."""
    call_id: str = ""
    approval: Approval | None = None
    origin: Origin = Origin("system")


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The value of an answer to an approval."""

    decision: Literal["allow", "deny"]
    scope: Scope = "once"
    arguments: dict[str, Any] | None = None
    """Given: call it with these instead; they are judged again."""
    reason: str = ""
    """For a refusal: what the model is told."""
    expires: float | None = None
    """When a leave that reaches further than this once ends, in seconds since the epoch, UTC. None: for
    an exact call after 30 days, for a tool with its session."""


def checked(question: Question, value: Any) -> Any:
    """The value as the asker takes it.

    A bool for confirm; a string for text, secret and a choice, a list of strings for a choice of
    several; a dict for a form; a `Decision` for an approval.

    Raises:
        AnswerRefused: the value does not fit; the question stays open.
    """
    return _CHECKS[question.kind](question, value)


def _confirm(question: Question, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _refused(question, f"{_short(value)} is neither True nor False", "True", "False")


def _choice(question: Question, value: Any) -> str | list[str]:
    offered = [option.value for option in question.options]
    values = value if question.multiple and isinstance(value, (list, tuple)) else [value]
    for one in values:
        if not isinstance(one, str) or one not in offered:
            raise _refused(question, f"{_short(one)} was not offered", *map(repr, offered))
    if len(set(values)) != len(values):
        raise _refused(question, "an option is named twice")
    return list(values) if question.multiple else values[0]


def _text(question: Question, value: Any) -> str:
    if not isinstance(value, str):
        raise _refused(question, f"{_short(value)} is no text")
    if len(value) > MAX_ANSWER:
        raise _refused(question, f"the text has {len(value):,} characters, the limit is {MAX_ANSWER:,}")
    return clean(value)


def _secret(question: Question, value: Any) -> str:
    """Like a text, but nothing of it may stand in an error."""
    if not isinstance(value, str) or not value or len(value) > MAX_ANSWER:
        raise _refused(question, "a secret is a text of at least one character")
    return value


def _form(question: Question, value: Any) -> dict[str, Any]:
    schema = question.schema or {"type": "object"}
    if not isinstance(value, Mapping):
        what = "the answer" if has_secrets(schema) else _short(value)
        raise _refused(question, f"{what} is no set of fields")
    told = misfits(schema, dict(value), "the form")
    if told:
        raise _refused(question, told)
    return dict(value)


def misfits(schema: Mapping[str, Any], fields: dict[str, Any], whole: str) -> str:
    """What does not fit a JSON schema, field by field; empty where all does.

    Where the schema marks a field as secret, nothing of any value is quoted: a message about a field
    may quote those beside it.

    Args:
        schema: of an object.
        fields: its fields.
        whole: what the object is called.
    """
    from jsonschema import SchemaError
    from jsonschema.exceptions import UnknownType
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        check = validator_for(schema)
        check.check_schema(dict(schema))
        problems = list(check(schema, registry=Registry()).iter_errors(fields))  # nothing is downloaded
    except SchemaError as error:
        return f"the schema of {whole} is not valid: {error.message[:200]}"
    except (Unresolvable, UnknownType, re.error, RecursionError) as error:
        return f"the schema of {whole} is not valid: {type(error).__name__}"
    say = _without_values if has_secrets(schema) else _in_full
    return "; ".join(
        f"{'.'.join(str(step) for step in problem.absolute_path) or whole}: {say(problem)}"
        for problem in problems
    )


def _in_full(problem: "ValidationError") -> str:
    return problem.message[:200]


def _without_values(problem: "ValidationError") -> str:
    """What is wrong, in words of the schema alone."""
    wanted: Any = problem.validator_value
    if problem.validator == "required" and isinstance(problem.instance, Mapping):
        return f"{', '.join(str(name) for name in wanted if name not in problem.instance)} is missing"
    if problem.validator in _SAFE_TO_TELL:
        return f"does not fit, {problem.validator} is {str(wanted)[:100]}"
    return f"does not fit ({problem.validator})"


_SAFE_TO_TELL = frozenset(
    {"type", "format", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "multipleOf"}
)


def has_secrets(schema: Any) -> bool:
    """Whether a JSON schema marks anything in it as secret: `writeOnly`, or the format `password`."""
    if isinstance(schema, Mapping):
        marked = schema.get("writeOnly") is True or schema.get("format") == "password"
        return marked or any(has_secrets(inner) for inner in schema.values())
    return isinstance(schema, (list, tuple)) and any(has_secrets(inner) for inner in schema)


def without_secrets(schema: Mapping[str, Any] | None, fields: Any) -> Any:
    """The fields of a form as a log may hold them: None for each that is secret or may hold a secret."""
    if schema is None or not isinstance(fields, Mapping) or not has_secrets(schema):
        return fields
    known = schema.get("properties")
    known = known if isinstance(known, Mapping) else {}
    rest = {key: inner for key, inner in schema.items() if key not in ("properties", "$defs", "definitions")}
    if has_secrets(rest) or _refers(rest):
        return dict.fromkeys(fields)
    return {
        name: None if has_secrets(known.get(name)) or _refers(known.get(name)) else inner
        for name, inner in fields.items()
    }


def secrets_typed(question: Question, value: Any) -> list[str]:
    """The texts of an answer that are secret."""
    if question.kind == "secret":
        return [value] if isinstance(value, str) else []
    if question.kind != "form" or not isinstance(value, Mapping):
        return []
    shown = without_secrets(question.schema, value)
    return [text for name, held in value.items() if shown.get(name) is not held for text in _texts(held)]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in _texts(inner)]
    return [text for inner in value for text in _texts(inner)] if isinstance(value, list | tuple) else []


def _refers(schema: Any) -> bool:
    """Whether it points to another schema, which may be that of a secret."""
    if isinstance(schema, Mapping):
        return any(str(key).endswith(("$ref", "Ref")) or _refers(inner) for key, inner in schema.items())
    return isinstance(schema, (list, tuple)) and any(_refers(inner) for inner in schema)


def _approval(question: Question, value: Any) -> Decision:
    try:
        plain = msgspec.to_builtins(value) if isinstance(value, Decision) else value
        decision = msgspec.convert(plain, Decision, strict=True)
    except (msgspec.ValidationError, TypeError) as error:
        raise _refused(question, str(error), "Decision('allow')", "Decision('deny', reason='…')") from None
    assert question.approval is not None  # noqa: S101  an approval is about a call
    if decision.decision == "allow" and decision.scope not in question.approval.scopes:
        offered = ", ".join(question.approval.scopes)
        raise _refused(question, f"'{decision.scope}' was not offered for this call, only {offered}")
    if decision.expires is not None:
        if not math.isfinite(decision.expires):
            raise _refused(question, "expires: a number of seconds since the epoch, or None")
        if decision.decision != "allow" or decision.scope == "once":
            raise _refused(question, "expires: only a leave that reaches further than this once can end")
    return decision


_CHECKS = {
    "confirm": _confirm,
    "choice": _choice,
    "text": _text,
    "form": _form,
    "secret": _secret,
    "approval": _approval,
}


def _refused(question: Question, cause: str, *fixes: str) -> AnswerRefused:
    return AnswerRefused(f"the answer does not fit question {question.id}", cause=cause, fixes=fixes)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
