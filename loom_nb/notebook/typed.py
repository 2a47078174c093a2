"""A question answered by typing, where no card can appear: a console, a terminal, plain outputs.

The lines are read beside the event loop, so that the run, its time limits and the interrupt button go
on while it waits.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TextIO

from loom_nb.notebook import question_view as views
from loom_nb.notebook.question_view import Entries, EntriesRefused, Field
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.questions import Approval, Question
from loom_nb.runtime.threads import in_thread

LET_GO = 1.0
"""Seconds in which a reader that was given up lets go of the input channel; it looks every 10 ms."""
PROMPT_WIDTH = 60
"""Characters of an old value that a prompt repeats."""


class Lines(Protocol):
    """Where a person types."""

    async def ask(self, prompt: str, *, secret: bool = False) -> str:
        """One line, without its end. Cancelling gives it up. Raises EOFError where no more will come."""
        ...

    def write(self, text: str) -> None:
        """Show lines above the prompt."""
        ...


Submit = Callable[[Entries], None]
"""Takes what was entered. Raises EntriesRefused where it is no answer yet."""


async def converse(question: Question, lines: Lines, submit: Submit) -> None:
    """Ask until an answer is taken. Raises EOFError where nobody types any more."""
    while True:
        entries = await _entries(question, lines)
        if entries is None:
            continue
        try:
            return submit(entries)
        except EntriesRefused as refused:
            lines.write(str(refused))
            for name, problem in refused.fields.items():
                lines.write(f"  {visible(name)}: {problem}")


async def _entries(question: Question, lines: Lines) -> Entries | None:
    match question.kind:
        case "approval":
            assert question.approval is not None  # noqa: S101  an approval is about a call
            return await _approval(question.approval, lines)
        case "confirm":
            typed = (await lines.ask("[y]es / [n]o: ")).strip().lower()
            return Entries(choice={"y": "yes", "n": "no"}.get(typed, typed))
        case "choice":
            many = " (several: 1, 3)" if question.multiple else ""
            names = [option.label or option.value for option in question.options]
            return Entries(chosen=_places(await lines.ask(f"number{many}: "), names))
        case "text":
            return Entries(text=await lines.ask("answer: "))
        case "secret":
            return Entries(text=await lines.ask("hidden answer: ", secret=True))
        case "form":
            return Entries(fields=await _fill(views.form_fields(question.schema), lines))


async def _approval(approval: Approval, lines: Lines) -> Entries | None:
    offered = views.ways(approval)
    menu = " / ".join(f"[{way.key}]{way.word[1:]}" for way in offered)
    typed, _, rest = (await lines.ask(f"{menu} / [?]: ")).strip().partition(" ")
    word = "deny" if typed.lower() in ("n", "no") else typed.lower()
    way = next((way for way in offered if word in (way.key, way.word)), None)
    if way is None:
        lines.write("\n".join(f"  {way.key}  {way.label}" for way in offered))
        return None
    if way.value == "deny":
        return Entries("deny", text=rest.strip() or await lines.ask("tell the agent why (or nothing): "))
    if way.value == "edit":
        return Entries("edit", fields=await _fill(views.argument_fields(approval), lines, editing=True))
    return Entries(way.value)


async def _fill(
    fields: Sequence[Field], lines: Lines, *, editing: bool = False
) -> dict[str, str | tuple[int, ...]]:
    """One prompt a field; a line left empty keeps what is there. Editing tells only what was changed."""
    entries: dict[str, str | tuple[int, ...]] = {}
    for field in fields:
        while True:
            typed = await lines.ask(_field_prompt(field), secret=field.secret)
            kept = not typed.strip()
            if kept and editing:
                break
            entry = _initial(field) if kept else _entry(field, typed)
            try:
                views.fields_value([field], {field.name: entry})
            except EntriesRefused as refused:
                lines.write(f"  {refused.fields.get(field.name, refused)}")
                continue
            entries[field.name] = entry
            break
    return entries


def _field_prompt(field: Field) -> str:
    about = [visible(field.help)] if field.help else []
    if field.options:
        labels = field.content()["options"]
        about.append(", ".join(f"{number} {label}" for number, label in enumerate(labels, 1)))
    elif field.type in ("json", "lines"):
        about.append("as JSON" if field.type == "json" else "with commas between them")
    now = ", ".join(str(at + 1) for at in field.chosen) if field.chosen else field.initial.replace("\n", " ")
    about.append(f"now {visible(now)[:PROMPT_WIDTH]}" if now else "needed" if field.required else "")
    told = "; ".join(part for part in about if part)
    return f"{visible(field.label)} ({told}): " if told else f"{visible(field.label)}: "


def _initial(field: Field) -> str | tuple[int, ...]:
    return field.chosen if field.type in ("option", "several") else field.initial


def _entry(field: Field, typed: str) -> str | tuple[int, ...]:
    if field.type in ("option", "several"):
        return _places(typed, field.content()["options"])
    if field.type == "lines":
        return "\n".join(part.strip() for part in typed.split(","))
    return typed


def _places(typed: str, labels: Sequence[str]) -> tuple[int, ...]:
    """The places that are meant by "2", "1, 3" or the words themselves; -1 for what was not offered."""
    places = []
    for part in (part.strip() for part in typed.split(",")):
        if part.isdecimal():
            places.append(int(part) - 1)
        elif part:
            same = [at for at, label in enumerate(labels) if label.lower() == part.lower()]
            places.append(same[0] if same else -1)
    return tuple(places)


class KernelLines:
    """The input line of a front end, below the running cell.

    Args:
        kernel: an ipykernel whose request of now allows input.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._reading: asyncio.Event | None = None
        """Set when the last reader of the channel has let go of it."""

    async def ask(self, prompt: str, *, secret: bool = False) -> str:
        """One line; the thread that waits for it ends with the task."""
        if self._reading is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reading.wait(), LET_GO)
        self._reading = ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def read() -> str:
            try:
                line: str = self._kernel.getpass(prompt) if secret else self._kernel.raw_input(prompt)
            finally:
                loop.call_soon_threadsafe(ended.set)
            return line

        return str(await in_thread(read))

    def write(self, text: str) -> None:
        """On the cell's own output."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


class TerminalLines:
    """The terminal, read when the loop hears that a line is there: no thread is left behind.

    Args:
        keyboard: the terminal to read from.
        screen: where prompts are written.
    """

    def __init__(self, keyboard: TextIO, screen: TextIO) -> None:
        self._keyboard = keyboard
        self._screen = screen

    async def ask(self, prompt: str, *, secret: bool = False) -> str:
        """One line. What was typed before the prompt is no answer."""
        with self._quiet() if secret else contextlib.nullcontext():
            self._forget_what_was_typed()  # before the prompt: who sees it may type at once
            self._screen.write(visible(prompt))
            self._screen.flush()
            line = await self._line()
        if secret:
            self.write("")
        if not line:
            raise EOFError
        return line.rstrip("\r\n")

    async def _line(self) -> str:
        loop = asyncio.get_running_loop()
        descriptor = self._keyboard.fileno()
        come: asyncio.Future[None] = loop.create_future()
        try:
            loop.add_reader(descriptor, _settle, come)
        except NotImplementedError:  # a loop that cannot listen to a terminal: Windows
            return str(await in_thread(self._keyboard.readline))
        try:
            await come
        finally:
            loop.remove_reader(descriptor)
        return os.read(descriptor, 1 << 16).decode(errors="replace")  # a terminal gives one line at a time

    def _forget_what_was_typed(self) -> None:
        with contextlib.suppress(ImportError):
            import termios

            with contextlib.suppress(termios.error):
                termios.tcflush(self._keyboard.fileno(), termios.TCIFLUSH)

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """What is typed is not shown."""
        try:
            import termios
        except ImportError:
            yield
            return
        descriptor = self._keyboard.fileno()
        before = termios.tcgetattr(descriptor)
        quiet = [*before]
        quiet[3] &= ~termios.ECHO
        termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
        try:
            yield
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    def write(self, text: str) -> None:
        """On the screen."""
        self._screen.write(f"{text}\n")
        self._screen.flush()


def _settle(come: "asyncio.Future[None]") -> None:
    if not come.done():
        come.set_result(None)
