"""A tool by which the agent asks the person: yes or no, one of several, words, or a form."""

from dataclasses import dataclass
from typing import Any, Literal

from loom_nb.border import clean
from loom_nb.errors import ToolError
from loom_nb.messages import MODEL, USER, TextPart, to_json
from loom_nb.protocols import Toolset, current_call
from loom_nb.questions import Option, Question
from loom_nb.tools import tool

MAX_OPTIONS = 50
MAX_TITLE = 2_000


@dataclass(frozen=True)
class HumanCapability:
    """Lets the agent ask a person. Without one, the question's default counts or the tool says so.

    A secret cannot be asked for: what a person types in answer is read by the model.
    """

    name: str = "human"

    async def open(self) -> Toolset:
        """The tool; there is nothing to connect."""
        return Toolset(tools=[tool(read_only=True, idempotent=True, timeout=3600)(ask_user)])


async def ask_user(
    question: str,
    kind: Literal["text", "confirm", "choice", "form"] = "text",
    options: list[str] | None = None,
    several: bool = False,
    form: dict[str, Any] | None = None,
    details: str = "",
) -> list[TextPart]:
    """Ask the person something that only they can know or decide, and wait for the answer.

    Do not ask for leave to use a tool: that is asked by itself. Never ask for passwords or keys.

    Args:
        question: one clear question.
        kind: text for words, confirm for yes or no, choice for one of `options`, form for several fields.
        options: of a choice.
        several: whether a choice takes more than one.
        form: of a form: a JSON schema of type object.
        details: what the person should know to answer.
    """
    context = current_call.get()
    if context is None:
        raise ToolError("ask_user only works in a run")
    answer = await context.ask(_question(question, kind, options or [], several, form, details))
    if isinstance(answer, bool):
        answer = "yes" if answer else "no"
    words = MODEL if kind == "choice" else USER  # the model wrote the options
    return [TextPart(answer if isinstance(answer, str) else to_json(answer).decode(), words)]


def _question(
    title: str, kind: Literal["text", "confirm", "choice", "form"], options: list[str], several: bool,
    form: dict[str, Any] | None, details: str,
) -> Question:  # fmt: skip
    if not title.strip() or len(title) > MAX_TITLE:
        raise ToolError(f"question: a text of 1 to {MAX_TITLE} characters")
    if kind == "choice" and not 2 <= len(set(options)) == len(options) <= MAX_OPTIONS:
        raise ToolError(f"options: a choice needs 2 to {MAX_OPTIONS} different ones")
    if kind == "form":
        _check_form(form)
    return Question(
        id="",
        kind=kind,
        title=clean(title),
        text=clean(details),
        options=tuple(Option(clean(option)) for option in options) if kind == "choice" else (),
        multiple=several,
        schema=form if kind == "form" else None,
        origin=MODEL,
    )


def _check_form(form: dict[str, Any] | None) -> None:
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    if not isinstance(form, dict) or form.get("type") != "object" or not form.get("properties"):
        raise ToolError("form: a JSON schema of type object with at least one property")
    try:
        validator_for(form).check_schema(form)
    except SchemaError as error:
        raise ToolError(f"form: the schema is not valid: {error.message[:200]}") from None
