"""What a question shows, and how what a person enters becomes its value; the same for card and prompt.

Pure functions: a question becomes plain data for a page or plain text for a terminal, and entries
become the value of an answer. Every foreign word in it has its hidden characters made visible.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from loom_nb.border import parse
from loom_nb.errors import AnswerRefused, BorderError
from loom_nb.inputs import Answer
from loom_nb.notebook.render.acts import Aspect, about, preview_title
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.questions import Approval, Decision, Option, Question, has_secrets
from loom_nb.runtime.rules import whence

FieldType: TypeAlias = Literal["line", "text", "number", "option", "several", "lines", "json"]
"""A short text, a long one, a number, one of a list, some of a list, a text a line, anything as JSON."""

Content: TypeAlias = dict[str, Any]
"""Plain data, as it goes into a message."""

MAX_COLOURED = 20_000
"""Longer code is shown without colours."""


class Entries(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person has entered, as it came from a page: not yet checked against the question."""

    choice: str = ""
    """Of an approval: once, call, tool, edit, deny. Of a confirmation: yes, no."""
    chosen: tuple[int, ...] = ()
    """Of a choice: the places of the options."""
    text: str = ""
    """A text, a secret, or what the model is told of a refusal."""
    fields: dict[str, str | tuple[int, ...]] = {}
    """Of a form, and of arguments that were edited: the text, or the places of the options."""

    def __repr__(self) -> str:  # a secret may be in it
        return f"Entries(choice={self.choice!r}, …)"


class EntriesRefused(ValueError):
    """What was entered is no answer yet. `fields` says what is wrong with which field."""

    def __init__(self, text: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.fields = dict(fields or {})


@dataclass(frozen=True, slots=True)
class Field:
    """One thing to fill in."""

    name: str
    type: FieldType
    title: str = ""
    help: str = ""
    required: bool = False
    initial: str = ""
    options: tuple[Any, ...] = ()
    """The values of an option; shown as JSON unless they are texts."""
    chosen: tuple[int, ...] = ()
    """The options that are chosen to begin with."""
    secret: bool = False
    """It is typed in hidden."""

    @property
    def label(self) -> str:
        """What is shown as its name."""
        return self.title or self.name

    def content(self) -> Content:
        """As plain data for a page."""
        return {
            "name": self.name,
            "type": self.type,
            "label": visible(self.label),
            "help": visible(self.help),
            "required": self.required,
            "initial": self.initial,
            "hidden": visible(self.initial) != self.initial,
            "options": [_option_label(value) for value in self.options],
            "chosen": list(self.chosen),
            "secret": self.secret,
        }


# --- what is asked ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """One of the ways to answer an approval."""

    value: str
    key: str
    word: str
    label: str


_WAYS = (
    Way("once", "o", "once", "Allow once"),
    Way("call", "a", "again", "Allow this exact call again in this notebook"),
    Way("tool", "s", "session", "Allow this tool in this session"),
    Way("edit", "e", "edit", "Edit the arguments"),
    Way("deny", "d", "deny", "Deny, and tell the agent"),
)


def ways(approval: Approval) -> list[Way]:
    """The answers that are offered for this call."""
    offered: set[str] = {*approval.scopes, "deny"}
    if approval.arguments and "once" in approval.scopes:
        offered.add("edit")
    return [way for way in _WAYS if way.value in offered]


def argument_fields(approval: Approval) -> list[Field]:
    """An editor for each argument."""
    properties = approval.schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    return [_argument_field(name, value, known.get(name)) for name, value in approval.arguments.items()]


def _argument_field(name: str, value: Any, schema: Any) -> Field:
    schema = schema if isinstance(schema, Mapping) else {}
    options = tuple(schema["enum"]) if isinstance(schema.get("enum"), list) else ()
    if isinstance(value, bool):
        options = (True, False)
    place = next((at for at, one in enumerate(options) if _same(one, value)), None)
    if place is not None:
        return Field(name, "option", required=True, options=options, chosen=(place,))
    if isinstance(value, str):
        return Field(name, "text", required=True, initial=value)
    kind: FieldType = "number" if isinstance(value, int | float) else "json"
    return Field(name, kind, required=True, initial=_json(value, indent=None if kind == "number" else 2))


def form_fields(schema: Mapping[str, Any] | None) -> list[Field]:
    """A field for each property of a JSON schema of an object."""
    schema = schema or {}
    properties = schema.get("properties")
    required = schema.get("required")
    needed = required if isinstance(required, Sequence) else ()
    if not isinstance(properties, Mapping):
        return []
    return [
        _form_field(str(name), property_ if isinstance(property_, Mapping) else {}, name in needed)
        for name, property_ in properties.items()
    ]


def _form_field(name: str, schema: Mapping[str, Any], required: bool) -> Field:
    kind, options = _field_type(schema)
    default = schema.get("default")
    chosen: tuple[int, ...] = ()
    initial = ""
    if default is not None and kind in ("option", "several"):
        wanted = default if kind == "several" and isinstance(default, list) else [default]
        chosen = tuple(at for at, one in enumerate(options) if any(_same(one, want) for want in wanted))
    elif default is not None:
        initial = _as_text(kind, default)
    return Field(
        name,
        kind,
        title=str(schema.get("title", "")),
        help=" ".join(str(part) for part in (schema.get("description", ""), _bounds(schema)) if part),
        required=required,
        initial=initial,
        options=options,
        chosen=chosen,
        secret=has_secrets(schema),
    )


def _field_type(schema: Mapping[str, Any]) -> tuple[FieldType, tuple[Any, ...]]:
    if isinstance(schema.get("enum"), list):
        return "option", tuple(schema["enum"])
    items = schema.get("items")
    match schema.get("type"):
        case "boolean":
            return "option", (True, False)
        case "string":
            return ("text" if int(schema.get("maxLength", 0) or 0) > 200 else "line"), ()
        case "integer" | "number":
            return "number", ()
        case "array" if isinstance(items, Mapping) and isinstance(items.get("enum"), list):
            return "several", tuple(items["enum"])
        case "array" if isinstance(items, Mapping) and items.get("type") == "string":
            return "lines", ()
        case _:
            return "json", ()


def _as_text(kind: FieldType, value: Any) -> str:
    if kind in ("line", "text") and isinstance(value, str):
        return value
    if kind == "lines" and isinstance(value, list):
        return "\n".join(str(line) for line in value)
    return _json(value)


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"({low} to {high})"
    return f"(at least {low})" if low is not None else f"(at most {high})" if high is not None else ""


# --- what was entered ---------------------------------------------------------------------------------


def value_of(question: Question, entries: Entries) -> Any:
    """The value of an answer. Raises EntriesRefused for entries that are none."""
    match question.kind:
        case "approval":
            assert question.approval is not None  # noqa: S101  an approval is about a call
            return _decision(question.approval, entries)
        case "confirm":
            if entries.choice not in ("yes", "no"):
                raise EntriesRefused("Choose yes or no.")
            return entries.choice == "yes"
        case "choice":
            return _choice(question, entries)
        case "form":
            return fields_value(form_fields(question.schema), entries.fields)
        case "text" | "secret":
            return entries.text


def _decision(approval: Approval, entries: Entries) -> Decision:
    if entries.choice not in [way.value for way in ways(approval)]:
        raise EntriesRefused("Choose one of the answers.")
    if entries.choice == "deny":
        return Decision("deny", reason=entries.text)
    if entries.choice == "edit":
        fields = argument_fields(approval)
        changed = [field for field in fields if field.name in entries.fields]
        if len(changed) != len(entries.fields):
            raise EntriesRefused("An argument was edited that the call does not have.")
        values = fields_value(changed, entries.fields, empty_is_given=True)
        return Decision("allow", arguments={**approval.arguments, **values})
    return Decision("allow", scope=entries.choice)  # type: ignore[arg-type]  # it is one of the scopes


def _choice(question: Question, entries: Entries) -> str | list[str]:
    if not entries.chosen and not question.multiple:
        raise EntriesRefused("Choose one of the options.")
    if any(not 0 <= at < len(question.options) for at in entries.chosen):
        raise EntriesRefused("That was not offered.")
    values = [question.options[at].value for at in entries.chosen]
    return values if question.multiple else values[0]


def fields_value(
    fields: Sequence[Field], entries: Mapping[str, str | tuple[int, ...]], *, empty_is_given: bool = False
) -> dict[str, Any]:
    """The values of fields by their names; an optional one that is left empty is not among them.

    Args:
        fields: what was to be filled in.
        entries: what was filled in.
        empty_is_given: whether an empty text counts as one.

    Raises:
        EntriesRefused: with a sentence for each field that does not fit.
    """
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for field in fields:
        entry = entries.get(field.name, "")
        blank = not entry.strip() if isinstance(entry, str) else not entry
        if blank and not (empty_is_given and field.type == "text"):
            if field.required and field.type not in ("several", "lines"):
                problems[field.name] = "This is needed."
            elif field.required:
                values[field.name] = []
            continue
        try:
            values[field.name] = _field_value(field, entry)
        except ValueError as error:
            problems[field.name] = str(error)
    if problems:
        raise EntriesRefused("Some fields need another look.", problems)
    return values


def submit(question: Question, entries: Entries, send: Callable[[Answer], None]) -> None:
    """Hand in what was entered.

    Raises:
        EntriesRefused: it is no answer yet, with what is wrong with which field.
    """
    value = value_of(question, entries)
    try:
        send(Answer(question.id, value))
    except AnswerRefused as refused:
        raise refused_at(question, refused.cause or refused.title) from None


def refused_at(question: Question, cause: str) -> EntriesRefused:
    """What the check of an answer found, at the fields that it names."""
    if question.kind != "form":
        return EntriesRefused(visible(cause))
    names = {field.name for field in form_fields(question.schema)}
    problems: dict[str, str] = {}
    others = []
    for part in cause.split("; "):
        name, _, words = part.partition(": ")
        if name in names and words:
            problems[name] = visible(words)
        else:
            others.append(visible(part))
    return EntriesRefused("; ".join(others) or "Some fields need another look.", problems)


def _field_value(field: Field, entry: str | tuple[int, ...]) -> Any:
    """Raises ValueError with a sentence for the reader."""
    if isinstance(entry, tuple) or field.type in ("option", "several"):
        if isinstance(entry, str) or any(not 0 <= at < len(field.options) for at in entry):
            raise ValueError("That was not offered.")
        values = [field.options[at] for at in entry]
        return values if field.type == "several" else values[0]
    if field.type in ("line", "text"):
        return entry
    if field.type == "lines":
        return [line for line in entry.splitlines() if line.strip()]
    try:
        value = parse(entry, what="this")
    except BorderError:
        word = "a number" if field.type == "number" else "valid JSON"
        raise ValueError(f"This is not {word}.") from None
    if field.type == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError("This is not a number.")
    return value


# --- what is shown ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Where:
    """Where a question comes from, and when it is now."""

    run: str
    step: int
    now: float
    """Seconds since the epoch, UTC."""

    @property
    def words(self) -> str:
        """`run r7, step 2`; empty outside of a run."""
        if not self.run:
            return ""
        return f"run {self.run}, step {self.step}" if self.step else f"run {self.run}"


def how_to_answer(question: Question) -> str:
    """What to type where no card appears and the cell has ended."""
    if _by_a_line(question):
        return "Waits for you, in this cell."
    if question.kind == "approval":
        yes, no = f"%loom approve {question.id}", f'%loom deny {question.id} "why"'
        return f"Waits for you. {yes} allows it once, {no} does not."
    if question.kind == "secret" or has_secrets(question.schema):
        return "Waits for you; a hidden answer is never typed into a cell."
    return f"Waits for you. %loom answer {question.id} … answers it."


def receipt(question: Question, how: str, value: Any) -> str:
    """How a question ended, in words: `Approval a3: allowed once`."""
    name = name_of(question)
    if how == "timeout":
        return f"{name}: nobody answered in time"
    if how != "person":
        return f"{name}: not answered"
    decision = msgspec.to_builtins(value)
    if question.kind != "approval" or not isinstance(decision, dict):
        return f"{name}: answered"
    if decision.get("decision") != "allow":
        return f"{name}: denied"
    reach = {"call": " in this notebook", "tool": " in this session"}.get(decision.get("scope", ""), " once")
    return f"{name}: allowed{reach}{', as edited' if decision.get('arguments') is not None else ''}"


def name_of(question: Question) -> str:
    """`Approval a3`, `Question q2`; `%loom key rm github` for one that a line asks."""
    if _by_a_line(question):
        return visible(question.asked_by)
    return f"{'Approval' if question.kind == 'approval' else 'Question'} {question.id}"


def title_of(question: Question) -> str:
    """The first line: `Approval a3 · writes`."""
    approval = question.approval
    if approval is None:
        return name_of(question)
    kinds = ", ".join(approval.effects) or "acts"
    return visible(f"{name_of(question)} · {kinds}{', cannot be undone' if approval.destructive else ''}")


def _aspects(question: Question) -> list[Aspect]:
    return about(question.approval, whole=True) if question.approval is not None else []


def asker(question: Question) -> str:
    """Who asks, where that is not the judge, or a line that the person typed."""
    known = question.asked_by in ("", "judge") or _by_a_line(question)
    return "" if known else visible(question.asked_by)


def _by_a_line(question: Question) -> bool:
    """Whether a line magic asks, and no run."""
    return question.asked_by.startswith("%")


def foreign(question: Question) -> str:
    """Where the words of the question come from, where they are not ours or the person's."""
    origin = question.origin
    return "" if origin.trusted else visible(f"from {whence(origin.kind, origin.source)}")


def argument_lines(approval: Approval) -> list[tuple[str, str]]:
    """(name, value) of each argument, whole: JSON, or a text of several lines as it is."""
    return [
        (visible(name), "(whole, below)" if _is_preview(value, approval) else shown_value(value))
        for name, value in approval.arguments.items()
    ]


def _is_preview(value: Any, approval: Approval) -> bool:
    """Whether the preview is just this argument: what stands there in full need not stand twice."""
    return isinstance(value, str) and "\n" in value and value == approval.preview


def shown_value(value: Any) -> str:
    """A value as JSON; a text of several lines as it is."""
    if isinstance(value, str) and "\n" in value.strip("\n"):
        return visible(value)
    text = _json(value)
    return visible(text if len(text) <= 80 or not isinstance(value, dict | list) else _json(value, indent=2))


def left(question: Question, now: float) -> str:
    """How long there is to answer, in words; empty where there is no end."""
    if question.expires is None:
        return ""
    seconds = max(0.0, question.expires - now)
    return f"expires in {seconds / 60:.0f} min" if seconds >= 90 else f"expires in {seconds:.0f} s"


def unanswered(question: Question) -> str:
    """What counts when nobody answers; empty where nothing does."""
    if question.kind == "approval":
        return "no answer: denied"
    if question.default is None or question.kind == "secret":
        return ""
    return f"no answer: {_default_words(question)}"


def _default_words(question: Question) -> str:
    if isinstance(question.default, bool):
        return "yes" if question.default else "no"
    text = question.default if isinstance(question.default, str) else _json(question.default)
    return visible(text)


def content(question: Question, where: Where) -> Content:
    """A question as plain data for a card."""
    approval = question.approval
    shown: Content = {
        "kind": question.kind,
        "name": name_of(question),
        "title": title_of(question),
        "place": visible(where.words),
        "seconds": None if question.expires is None else max(0.0, question.expires - where.now),
        "unanswered": unanswered(question),
        "asker": asker(question),
        "foreign": foreign(question),
        "heading": "" if approval is not None else visible(question.title),
        "text": visible(question.text),
        "note": _note(question),
        "aspects": [msgspec.to_builtins(aspect) for aspect in _aspects(question)],
    }
    if approval is not None:
        shown["call"] = {"tool": visible(approval.tool), "arguments": argument_lines(approval)}
        shown["ways"] = [msgspec.to_builtins(way) for way in ways(approval)]
        shown["fields"] = [field.content() for field in argument_fields(approval)]
        shown["preview"] = _preview(approval)
    elif question.kind == "choice":
        shown["multiple"] = question.multiple
        shown["options"] = [_option(option) for option in question.options]
    elif question.kind == "form":
        shown["fields"] = [field.content() for field in form_fields(question.schema)]
    return shown


def _note(question: Question) -> str:
    """What becomes of a secret that is entered."""
    if question.kind != "secret" and not has_secrets(question.schema):
        return ""
    if _by_a_line(question):
        return "It is kept encrypted on this machine, and nowhere in the notebook."
    return "It is handed to the tool that asks, and kept nowhere in the notebook."


def _option(option: Option) -> Content:
    return {"label": visible(option.label or option.value), "description": visible(option.description)}


def _preview(approval: Approval) -> Content | None:
    """Lines of (class, text) spans."""
    if not approval.preview:
        return None
    text = visible(approval.preview)
    if approval.preview_kind == "diff":
        spans = [[(_diff_class(line), line)] for line in text.split("\n")]
    elif approval.preview_kind in ("code", "command") and len(text) <= MAX_COLOURED:
        spans = _coloured(text, "python" if approval.preview_kind == "code" else "bash")
    else:
        spans = [[("", line)] for line in text.split("\n")]
    return {"title": preview_title(approval), "lines": spans}


def _diff_class(line: str) -> str:
    if line.startswith(("+++", "---", "@@")):
        return "about"
    return {"+": "added", "-": "removed"}.get(line[:1], "")


def _coloured(text: str, language: str) -> list[list[tuple[str, str]]]:
    from pygments.lexers import get_lexer_by_name
    from pygments.token import Comment, Keyword, Literal, Name, Number, String

    classes = ((Comment, "comment"), (Keyword, "keyword"), (String, "string"), (Number, "number"))
    names = ((Name.Builtin, "name"), (Name.Function, "name"), (Name.Class, "name"), (Literal, "number"))
    lines: list[list[tuple[str, str]]] = [[]]
    for token, piece in get_lexer_by_name(language, stripnl=False, ensurenl=False).get_tokens(text):
        name = next((word for kind, word in (*classes, *names) if kind in token.split()), "")
        first, *others = piece.split("\n")
        lines[-1].append((name, first))
        lines += [[(name, other)] for other in others]
    return lines


# --- in plain text ------------------------------------------------------------------------------------


def plain(question: Question, where: Where) -> str:
    """The whole question as text for a terminal, without the prompt."""
    about = " · ".join(
        part for part in (where.words, left(question, where.now), unanswered(question)) if part
    )
    lines = [f"{title_of(question)}  ({visible(about)})" if about else title_of(question)]
    if question.approval is not None:
        lines += _plain_call(question.approval)
    else:
        by = asker(question)
        lines += [f"  {by} asks: {visible(question.title)}" if by else f"  {visible(question.title)}"]
    if foreign(question):
        lines.append(f"  ! these words come {foreign(question)}")
    lines += [f"  {line}" for line in visible(question.text).splitlines()]
    for aspect in _aspects(question):
        first, *others = aspect.lines
        lines.append(f"  {'! ' if aspect.warning else ''}{aspect.name}: {first}")
        lines += [f"    {line}" for line in others]
    if question.approval is not None and question.approval.preview:
        lines.append(f"  {preview_title(question.approval)}:")
        lines += [f"    | {line}" for line in visible(question.approval.preview).split("\n")]
    if question.kind == "choice":
        lines += [f"  {number}. {_plain_option(one)}" for number, one in enumerate(question.options, 1)]
    return "\n".join(lines)


def _plain_call(approval: Approval) -> list[str]:
    lines = [f"  {visible(approval.tool)}({'' if approval.arguments else ')'}"]
    for name, value in argument_lines(approval):
        first, *others = value.split("\n")
        lines.append(f"    {name} = {first}" if not others else f"    {name} =")
        lines += [f"      | {line}" for line in value.split("\n")] if others else []
    return [*lines, "  )"] if approval.arguments else lines


def _plain_option(option: Option) -> str:
    label = visible(option.label or option.value)
    return f"{label}: {visible(option.description)}" if option.description else label


def _option_label(value: Any) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return visible(value if isinstance(value, str) else _json(value))


def _same(one: Any, other: Any) -> bool:
    """Equal, and of the same kind: 1 is not True."""
    return type(one) is type(other) and one == other


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
