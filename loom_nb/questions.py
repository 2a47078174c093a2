"""What a run asks a person, and the check of what comes back.

A question is a value: it lies in the log until it is answered, so a face that connects later sees
it, and a kernel that restarts finds it again. An answer that does not fit its question is refused.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from loom_nb.border import clean
from loom_nb.errors import AnswerRefused
from loom_nb.messages import Origin

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
    """Of a form: a JSON schema of an object."""
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
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    if not isinstance(value, Mapping):
        raise _refused(question, f"{_short(value)} is no set of fields")
    schema = question.schema or {"type": "object"}
    try:
        problems = list(validator_for(schema)(schema).iter_errors(dict(value)))
    except SchemaError as error:
        raise _refused(question, f"the form itself is not valid: {error.message}") from None
    if problems:
        told = "; ".join(
            f"{'.'.join(str(step) for step in problem.absolute_path) or 'the form'}: {problem.message[:200]}"
            for problem in problems
        )
        raise _refused(question, told)
    return dict(value)


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
