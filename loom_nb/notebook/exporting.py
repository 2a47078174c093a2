"""A run as a document to hand on: Markdown, a page of HTML, a Python script, the cells of a notebook.

Pure: entries of a log go in, text comes out. What a model, a tool or a file has written is shown the
way the transcript shows it, as strict Markdown or escaped text. Values of secret environment variables
and what looks like a key are blotted out first, and what a vendor wants back of a model's reasoning is
left out. Before a document is given away, somebody has to read it all the same.
"""

import ast
import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from loom_nb.border import clean
from loom_nb.errors import LoomUsageError
from loom_nb.events import (
    CallFinished,
    CallStarted,
    Kept,
    LogEntry,
    MessageAdded,
    Noticed,
    RunFinished,
    RunStarted,
    SessionOpened,
)
from loom_nb.messages import DataPart, Message, TextPart, ThinkingPart, to_json
from loom_nb.models.blotting import Blotter
from loom_nb.notebook.render import html as html_of
from loom_nb.notebook.render import markdown as markdown_of
from loom_nb.notebook.render.markdown import code, escaped, fenced, words
from loom_nb.notebook.render.strict_markdown import escape, visible
from loom_nb.notebook.transcript import Transcript, is_of_the_runtime
from loom_nb.redaction.key_forms import without_key_forms
from loom_nb.runtime.artifacts import Artifact, artifacts_of

Kind: TypeAlias = Literal["md", "html", "py", "ipynb"]
KINDS: tuple[Kind, ...] = ("md", "html", "py", "ipynb")
_ALIASES = {"markdown": "md", "htm": "html", "python": "py", "cells": "ipynb", "notebook": "ipynb"}
_RUNS_CODE = "run_python"
_RAISED = "The code raised "
"""How the last words of that tool begin when its code did."""
_LARGEST_PICTURE = 1_000_000
_PICTURES = ("image/gif", "image/webp")
"""Those that the transcript does not draw where they came into being."""


def kind_of(name: str) -> Kind:
    """A kind by its name or by the name of a file: "html", "cells", "out/report.md".

    Raises:
        LoomUsageError: nothing is exported as that.
    """
    word = (Path(name).suffix or name).lower().lstrip(".")
    word = _ALIASES.get(word, word)
    found = next((kind for kind in KINDS if word == kind), None)
    if found is None:
        raise LoomUsageError(
            f"a run is not exported as {word!r}",
            fixes=["md, html, py or ipynb", "%loom export r3 --to out.md"],
        )
    return found


def export(events: Iterable[LogEntry], kind: str, *, environment: Mapping[str, str] | None = None) -> str:
    """One run, or several in their order, as a document.

    Args:
        events: entries of a log; `result.events`, or those of a session.
        kind: "md", "html", "py" or "ipynb", also by the name of a file.
        environment: its secret variables are blotted out; by default those of this process.

    Raises:
        LoomUsageError: nothing is exported as that, or there is no run in the entries.
    """
    write = _WRITERS[kind_of(kind)]
    runs = _runs(_blotted(events, os.environ if environment is None else environment))
    if not runs:
        raise LoomUsageError("there is no run to export", fixes=["%loom runs   lists those there are"])
    return clean(write(runs))


def cells(
    events: Iterable[LogEntry], *, environment: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """The cells of the exported notebook, to be put into an open one: their "cell_type" and "source"."""
    notebook = json.loads(export(events, "ipynb", environment=environment))
    return [{"cell_type": cell["cell_type"], "source": cell["source"]} for cell in notebook["cells"]]


# --- what is exported


@dataclass(frozen=True, slots=True)
class _Prompt:
    text: str
    used: tuple[str, ...]
    who: str = "you"


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str


@dataclass(frozen=True, slots=True)
class _Code:
    """Code that the agent ran."""

    source: str
    failed: str
    """Why it did not come to its end; empty where it did."""


@dataclass(frozen=True, slots=True)
class _Called:
    """A call of any other tool."""

    name: str
    arguments: str
    outcome: str


_Step: TypeAlias = _Prompt | _Answer | _Code | _Called


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: its entries, and the steps a reader would repeat."""

    id: str
    entries: tuple[LogEntry, ...]
    steps: tuple[_Step, ...]
    model: str
    status: str

    @property
    def artifacts(self) -> Sequence[Artifact]:
        """What it kept by name."""
        return artifacts_of(self.entries)

    @property
    def head(self) -> str:
        """It in a few words."""
        return " · ".join(visible(" ".join(one.split())) for one in (self.id, self.model, self.status) if one)


def _runs(entries: Iterable[LogEntry]) -> list[_Run]:
    by_run: dict[str, list[LogEntry]] = {}
    for entry in entries:
        if entry.run:
            by_run.setdefault(entry.run, []).append(entry)
    runs = []
    for name, mine in by_run.items():
        model = next((entry.event.model for entry in mine if isinstance(entry.event, RunStarted)), "")
        ends = [entry.event.status for entry in mine if isinstance(entry.event, RunFinished)]
        runs.append(_Run(name, tuple(mine), tuple(_steps(mine)), model, ends[-1] if ends else "not finished"))
    return runs


def _steps(entries: Iterable[LogEntry]) -> Iterator[_Step]:
    begun: dict[str, list[CallStarted]] = {}
    for event in (entry.event for entry in entries):
        match event:
            case MessageAdded(message=Message(role="user") as message):
                used = (
                    f"{part.name} ({part.summary})" for part in message.parts if isinstance(part, DataPart)
                )
                who = "the runtime" if is_of_the_runtime(message) else "you"
                yield _Prompt(message.text, tuple(used), who)
            case MessageAdded(message=Message(role="assistant", text=text)) if text.strip():
                yield _Answer(text)
            case CallStarted():
                begun.setdefault(event.call_id, []).append(event)
            case CallFinished():
                calls = begun.get(event.call_id)
                yield _step(event, calls.pop(0).arguments if calls else None)


def _step(event: CallFinished, arguments: dict[str, Any] | None) -> _Code | _Called:
    name, source = event.result.name, (arguments or {}).get("code")
    if name == _RUNS_CODE and isinstance(source, str):
        return _Code(source, _failure(event))
    if arguments is None:
        return _Called(name, "", f"{event.outcome}, not called")
    return _Called(name, to_json(arguments).decode(), event.outcome)


def _failure(event: CallFinished) -> str:
    """Why the code of a call did not come to its end."""
    if event.outcome != "ok":
        return event.outcome
    last = event.result.parts[-1] if event.result.parts else None
    told = last.text if isinstance(last, TextPart) else ""
    return told.split("\n", 1)[0] if told.startswith(_RAISED) else ""


# --- what stays out


def _blotted(entries: Iterable[LogEntry], environment: Mapping[str, str]) -> Iterator[LogEntry]:
    blotter = Blotter(environment)
    for entry in entries:
        plain = _without_keys(blotter.blot(msgspec.to_builtins(entry.event)))
        try:
            event: Kept = msgspec.convert(plain, Kept)
        except msgspec.ValidationError:
            event = Noticed(f"a {entry.event.type} is left out: it held a secret", "warning")
        yield msgspec.structs.replace(entry, event=_without_signatures(event))


def _without_keys(value: Any) -> Any:
    match value:
        case str():
            return without_key_forms(value)[0]
        case dict():
            return {name: _without_keys(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_without_keys(inner) for inner in value]
    return value


def _without_signatures(event: Kept) -> Kept:
    """What a vendor wants back of a model's reasoning is nobody else's."""
    if isinstance(event, SessionOpened):
        return SessionOpened(event.schema)
    if not isinstance(event, MessageAdded):
        return event
    parts = tuple(
        ThinkingPart(part.text) if isinstance(part, ThinkingPart) else part for part in event.message.parts
    )
    return MessageAdded(msgspec.structs.replace(event.message, parts=parts))


# --- Markdown and HTML


def _markdown(runs: Sequence[_Run]) -> str:
    parts = []
    for run in runs:
        parts.append(f"# {escaped(f'Run {run.head}', line_start=False)}")
        parts.append(markdown_of(Transcript.of(run.entries), prompt=True).rstrip("\n"))
        lines = [f"- {escaped(one.line)}" for one in run.artifacts]
        parts += ["**artifacts**", "\n".join(lines)] if lines else []
    return "\n\n".join(parts) + "\n"


_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;"
    "overflow-wrap:break-word}"
    "h1{font-size:1.1rem;font-weight:600;border-bottom:1px solid rgba(128,128,128,.35);padding-bottom:.4rem}"
    "table{border-collapse:collapse}td,th{padding:.2rem .6rem;border:1px solid rgba(128,128,128,.35)}"
    "img{max-width:100%;height:auto;background:#fff}"
)


def _html(runs: Sequence[_Run]) -> str:
    body = []
    for run in runs:
        body.append(
            f"<h1>{escape(f'Run {run.head}')}</h1>\n{html_of(Transcript.of(run.entries), prompt=True)}"
        )
        shown = "".join(map(_figure, run.artifacts))
        body.append(f"<section><p><b>artifacts</b></p>\n{shown}</section>\n" if shown else "")
    sha256 = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src-elem 'sha256-{sha256}'; style-src-attr 'unsafe-inline'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(', '.join(f'Run {run.id}' for run in runs))}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{''.join(body)}</body>\n</html>\n"
    )


def _figure(one: Artifact) -> str:
    """An artifact in a line, and its picture where it is one that a page can show safely."""
    line = f"<p>{escape(one.line)}</p>\n"
    if one.media_type not in _PICTURES or one.fact.data is None or one.size > _LARGEST_PICTURE:
        return line
    data = base64.b64encode(one.fact.data).decode()
    return f'{line}<p><img alt="{escape(one.name)}" src="data:{one.media_type};base64,{data}"></p>\n'


# --- a script


def _script(runs: Sequence[_Run]) -> str:
    """What ran, in order; all that is no code that came to its end is a comment."""
    parts = []
    for run in runs:
        parts.append(_comment(f"Run {run.head}\nWritten by a model: read it before you run it."))
        parts += [_scripted(step) for step in run.steps]
        parts += [_comment(f"artifact: {one.line}") for one in run.artifacts]
    return "\n\n".join(parts) + "\n"


def _scripted(step: _Step) -> str:
    match step:
        case _Prompt(text=text, used=used, who=who):
            return _comment("\n".join([f"{who.capitalize()}: {text}", *(f"with {one}" for one in used)]))
        case _Answer(text=text):
            return _comment(text)
        case _Called(name=name, arguments=arguments, outcome=outcome):
            return _comment(f"{name} {arguments} -> {outcome}")
        case _Code(source=source, failed=failed):
            if failed:
                return _comment(f"This code did not come to its end ({failed}):\n{source}")
            return "\n".join([*(_comment(one) for one in _warnings(source)), source.strip("\n")])


def _warnings(source: str) -> Iterator[str]:
    """What a reader of the code should know."""
    if visible(source) != source.replace("\r\n", "\n"):
        yield "Careful: this code holds characters that hide or reorder others."
    try:
        compile(source, "<code>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        try:
            compile(source, "<code>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        yield "This awaits at the top: it runs in a notebook, or under `python -m asyncio`."


def _comment(text: str) -> str:
    """Foreign text as comments: nothing of it can begin a line of its own."""
    lines = visible(text.strip().replace("\r", "\n")).split("\n")
    return "\n".join(f"# {line}".rstrip() for line in lines)


# --- cells


def _notebook(runs: Sequence[_Run]) -> str:
    made: list[dict[str, Any]] = []
    for run in runs:
        for step in run.steps:
            kind, source = _cell(step)
            number = len(made)
            name = hashlib.sha256(f"{number}\0{kind}\0{source}".encode("utf-8", "replace")).hexdigest()[:12]
            facts = {"loom": {"run": run.id, "ai_generated": not isinstance(step, _Prompt)}}
            cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": facts, "source": source}
            made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    notebook = {
        "cells": made,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return clean(json.dumps(notebook, ensure_ascii=False, indent=1)) + "\n"


def _cell(step: _Step) -> tuple[str, str]:
    """Whether it is code or Markdown, and its text. Code that failed is not there to be run again."""
    match step:
        case _Prompt(text=text, used=used, who=who):
            lines = [*text.rstrip("\n").split("\n"), *(f"with {one}" for one in used)]
            quoted = (f"> {f'**{who}** ' if n == 0 else ''}{escaped(line)}" for n, line in enumerate(lines))
            return "markdown", "  \n".join(quoted)
        case _Answer(text=text):
            return "markdown", words(text)
        case _Called(name=name, arguments=arguments, outcome=outcome):
            return "markdown", f"{code(f'{name} {arguments}'.strip()[:2_000])} → {escaped(outcome)}"
        case _Code(source=source, failed=failed) if failed or _is_magic(source):
            why = failed or "it is no plain Python"
            return (
                "markdown",
                f"This code did not come to its end: {escaped(why)}\n\n{fenced(source, 'python')}",
            )
        case _Code(source=source):
            notes = [_comment(one) for one in _warnings(source) if one.startswith("Careful")]
            return "code", "\n".join([*notes, source.strip("\n")])


def _is_magic(source: str) -> bool:
    """Whether a notebook would take it for a magic or a command of the shell, and not for Python."""
    return source.lstrip()[:1] in ("%", "!", "?")


_WRITERS = {"md": _markdown, "html": _html, "py": _script, "ipynb": _notebook}
