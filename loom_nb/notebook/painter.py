"""Draws a run while it goes on: events come in, outputs of the right cell come out.

There is one renderer; the modes differ only in when it is asked. *live* redraws the end of the
transcript about 12 times a second and leaves one full bundle; *static* displays once, with nothing
random in it; *plain* writes text to a terminal. A painter that fails never harms the run.
"""

import asyncio
import contextlib
import itertools
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TextIO

from msgspec.structs import replace

from loom_nb.events import (
    CallFinished,
    CallOutput,
    CallStarted,
    ContextCompacted,
    Event,
    LogEntry,
    QuestionAnswered,
    QuestionAsked,
    RunFinished,
    TextDelta,
    VariablesChanged,
)
from loom_nb.notebook.render import acts
from loom_nb.notebook.render.facts import clipped
from loom_nb.notebook.render.live import Live, Piece
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.transcript import Asked, Transcript, Variables, fold
from loom_nb.settings import Render

Mode = Literal["live", "static", "plain"]

MOST_WAITING = 2_000
"""Events that wait for a frame: a tool that prints without end fills no memory."""
INTERVAL = 0.08
"""Seconds between two frames: about 12 a second."""

Bundle = dict[str, Any]


def mode_for(wanted: Render, environ: Mapping[str, str], *, in_kernel: bool, allow_stdin: bool) -> Mode:
    """How to draw, from the setting, the environment and who asks.

    Somebody is there exactly if the front end allows to ask on stdin: nbclient, nbval, papermill
    and nbconvert do not.
    """
    if wanted != "auto":
        return "plain" if wanted == "live" and not in_kernel else wanted
    if "PYTEST_CURRENT_TEST" in environ:
        return "static"
    if not in_kernel:
        return "plain"
    return "live" if allow_stdin else "static"


class Outlet(Protocol):
    """Where the outputs of one cell go."""

    def show(self, slot: str, data: Bundle, metadata: Bundle) -> None:
        """A new output, to be found again by its slot."""
        ...

    def change(self, slot: str, data: Bundle, metadata: Bundle) -> None:
        """Another content for an output."""
        ...

    def replace(self, data: Bundle, metadata: Bundle) -> None:
        """One output in place of all that were shown here; what others printed meanwhile stays."""
        ...


class KernelOutlet:
    """The outputs of the cell that is running now, whoever runs next.

    Each message carries the header of the request that started the cell, so that it lands there
    from any task, thread or callback. What is `transient` in a message is neither shown nor saved: it
    tells a page that was loaded meanwhile which cell is meant.

    Args:
        shell: of IPython, while it runs the cell.
        background: the cell does not wait for what is painted here.
    """

    def __init__(self, shell: Any, *, background: bool = False) -> None:
        self._kernel = shell.kernel
        self._session = shell.kernel.session
        self._send: Callable[..., Any] = shell.kernel.session.send
        self._parent = shell.kernel.get_parent()
        self._others: list[dict[str, Any]] = []
        self._all: list[dict[str, Any]] = []
        """Everything the cell shows, ours and others', in its order."""
        self._slots: dict[str, dict[str, Any]] = {}
        self._shown = False
        cell = (self._parent.get("metadata") or {}).get("cellId")
        # not execution_count: that is one more in newer IPythons
        count = None if background else len(shell.history_manager.input_hist_raw) - 1
        self._place: Bundle = {"cell": cell, "count": count, "busy": not background}
        self._is_placed = isinstance(cell, str) and bool(cell)

    def show(self, slot: str, data: Bundle, metadata: Bundle) -> None:
        """Send display_data."""
        self._shown = True
        content = {"data": data, "metadata": metadata, "transient": self._transient(slot)}
        self._slots[slot] = {"msg_type": "display_data", "content": content}
        self._all.append(self._slots[slot])
        self._publish("display_data", content)

    def change(self, slot: str, data: Bundle, metadata: Bundle) -> None:
        """Send update_display_data."""
        content = {"data": data, "metadata": metadata, "transient": self._transient(slot)}
        self._slots[slot]["content"] = content
        self._publish("update_display_data", content)

    def replace(self, data: Bundle, metadata: Bundle) -> None:
        """Clear the cell and send the one output, then what tools printed or displayed meanwhile."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        others, self._others = self._others, []
        if others or self._shown:
            self._publish("clear_output", {"wait": True})
        content = {"data": data, "metadata": metadata, "transient": self._transient("")}
        self._publish("display_data", content)
        self._all = [{"msg_type": "display_data", "content": content}, *_merged(others)]
        for message in self._all[1:]:
            self._publish(message["msg_type"], message["content"])

    def painting(self) -> Bundle | None:
        """All that the cell shows now; None where the front end has not told which it is."""
        if not self._is_placed:
            return None
        request = _msg_id(self._parent.get("header"))
        return {**self._place, "request": request, "outputs": _merged(self._all)}

    def _transient(self, slot: str) -> Bundle:
        """What goes with an output and is not kept; without a slot it is the last one."""
        place = {"loom": {**self._place, **({} if slot else {"last": True})}} if self._is_placed else {}
        return {"display_id": slot, **place} if slot else place

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Remember, while the block runs, what others send to this cell."""
        overheard = vars(self._session).get("send")
        if not isinstance(overheard, _Overheard):
            overheard = self._session.send = _Overheard(self._session.send)
        overheard.listeners.append(self._hear)
        try:
            yield
        finally:
            overheard.listeners.remove(self._hear)
            if not overheard.listeners and vars(self._session).get("send") is overheard:
                del self._session.send

    def _hear(self, message: Any) -> None:
        if not isinstance(message, dict) or _msg_id(message.get("parent_header")) != _msg_id(
            self._parent.get("header")
        ):
            return
        if message["msg_type"] == "clear_output":
            self._others.clear()
            self._all.clear()
        elif message["msg_type"] in ("stream", "display_data", "update_display_data"):
            self._others.append(message)
            self._all.append(message)

    def _publish(self, msg_type: str, content: dict[str, Any]) -> None:
        self._send(
            self._kernel.iopub_socket,
            msg_type,
            content,
            parent=self._parent,
            ident=self._kernel.topic(msg_type) if hasattr(self._kernel, "topic") else msg_type.encode(),
        )


class _Overheard:
    """The `send` of a session for as long as cells listen, in whatever order they begin and end."""

    def __init__(self, send: Callable[..., Any]) -> None:
        self._send = send
        self.listeners: list[Callable[[Any], None]] = []

    def __call__(self, *args: Any, **options: Any) -> Any:
        message = self._send(*args, **options)
        for hear in tuple(self.listeners):
            hear(message)
        return message


def _msg_id(header: Any) -> Any:
    return header.get("msg_id") if isinstance(header, dict) else None


def _merged(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same outputs in fewer messages: streams joined, updates put into their displays."""
    merged: list[dict[str, Any]] = []
    displays: dict[str, dict[str, Any]] = {}
    for message in messages:
        kind, content = message["msg_type"], message["content"]
        slot = content.get("transient", {}).get("display_id")
        last = merged[-1] if merged else None
        if kind == "update_display_data" and slot in displays:
            displays[slot]["content"] = content
        elif (
            kind == "stream"
            and last
            and last["msg_type"] == "stream"
            and last["content"]["name"] == content["name"]
        ):
            last["content"] = {**content, "text": last["content"]["text"] + content["text"]}
        else:
            merged.append({"msg_type": kind, "content": content})
            if kind == "display_data" and slot:
                displays[slot] = merged[-1]
    return merged


class Painter(Protocol):
    """What the bridge hands a run's events to."""

    def take(self, event: Event) -> None:
        """One event, in order, on the loop's thread. Never raises."""
        ...

    def put_card(self, view: Bundle, metadata: Bundle) -> Callable[[], None]:
        """Show a widget below all that is drawn now; gives the way to take it off.

        A painter that draws nothing in between shows no widget.
        """
        ...

    def finish(self) -> None:
        """The last frame. Never raises; may be called twice."""
        ...


def _nothing() -> None:
    """There is nothing to take off."""


class StaticPainter:
    """One display when the run is over."""

    def __init__(self, publish: Callable[[Bundle, Bundle], None], draw: "Draw", run: str = "") -> None:
        self._publish = publish
        self._draw = draw
        self._transcript = Transcript(run=run, raises=True)
        self._done = False

    def take(self, event: Event) -> None:
        """Fold it."""
        self._transcript = fold(self._transcript, event)

    def put_card(self, view: Bundle, metadata: Bundle) -> Callable[[], None]:
        """Nothing is drawn before the end."""
        return _nothing

    def finish(self) -> None:
        """Display the whole."""
        if not self._done:
            self._done = True
            self._publish(*_drawn(self._draw, self._transcript))


Draw = Callable[[Transcript], tuple[Bundle, Bundle]]
"""A transcript as (data, metadata) of a display."""


def _drawn(draw: Draw, transcript: Transcript) -> tuple[Bundle, Bundle]:
    """The last frame; where it cannot be drawn, the bare words of the answer."""
    try:
        return draw(transcript)
    except Exception as error:  # noqa: BLE001  the border between a picture and a run: the answer is shown
        asyncio.get_running_loop().call_exception_handler(
            {"message": "the last frame of a transcript failed", "exception": error}
        )
        return {"text/plain": str(transcript.output or transcript.text)}, {}


class LivePainter:
    """The transcript as it grows, in a few outputs, of which only the last is redrawn.

    Args:
        outlet: where the outputs go.
        draw: makes the last frame.
        run: the id of the run.
        ascii: no symbols in the plain text.
        quiet: show nothing before the end.
        interval: seconds between two frames.
        asked_elsewhere: a widget asks what a person decides; the transcript keeps it folded away.
    """

    def __init__(
        self,
        outlet: Outlet,
        draw: "Draw",
        run: str = "",
        *,
        ascii: bool = False,  # noqa: A002  as the renderer calls it
        quiet: bool = False,
        interval: float = INTERVAL,
        asked_elsewhere: bool = False,
    ) -> None:
        self._outlet = outlet
        self._draw = draw
        self._quiet = quiet
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._prefix = f"loom-{uuid.uuid4().hex}"
        self._waiting: list[Event | LogEntry] = []
        self._transcript = Transcript(run=run, raises=True)
        self._timer: asyncio.TimerHandle | None = None
        self._framed = self._loop.time()
        self._live = Live(times=True, ascii=ascii, asked_elsewhere=asked_elsewhere)
        self._asked: frozenset[str] = frozenset()
        """The questions that were waiting at the last frame."""
        self._contents: list[Bundle] = []
        """What each output shows now."""
        self._first = 0
        """The first output of the transcript: 1 below a widget."""
        self._cards: set[int] = set()
        """The outputs that are, or were, widgets amidst the transcript."""
        self._up: set[int] = set()
        """Those of them that are shown now."""
        self._done = False

    def take(self, event: Event) -> None:
        """Remember it; the next frame shows it."""
        if self._done:
            return
        self._waiting.append(_timed(event, self._asked))
        if len(self._waiting) >= MOST_WAITING:
            self._fold()
        if isinstance(event, CallStarted | CallOutput) and self._loop.time() - self._framed >= self._interval:
            self._tick()  # a tool may hold up the loop: the reader sees which
        elif self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._tick)

    def put_bar(self, view: Bundle) -> None:
        """Show a widget above the transcript: it takes the first output, the rest moves down.

        The output is marked, so that the widget can see to it that it is not saved.
        """
        if self._done or self._first or 0 in self._cards:
            return
        self._put(0, view, {"loom": {"live_only": True}})
        self._first = 1
        self._frame()

    def put_card(self, view: Bundle, metadata: Bundle) -> Callable[[], None]:
        """Show a widget below all that is drawn now; gives the way to take it off."""
        if self._done:
            return _nothing
        self._fold()
        self._frame()
        number = len(self._contents)
        while number - 1 in self._cards - self._up:  # one that was taken off: a page folds long cells
            number -= 1
        self._cards.add(number)
        self._up.add(number)
        self._put(number, view, metadata)

        def take_off() -> None:
            if not self._done and number in self._up:
                self._up.discard(number)
                self._put(number, {"text/plain": ""})
                self._frame()

        return take_off

    def finish(self) -> None:
        """The whole transcript as one output in place of the pieces."""
        if self._done:
            return
        self._done = True
        if self._timer is not None:
            self._timer.cancel()
        self._fold()
        self._outlet.replace(*_drawn(self._draw, self._transcript))

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._framed = self._loop.time()
        try:
            self._fold()
            self._frame()
        except Exception as error:  # noqa: BLE001  the border between a picture and a run: the run goes on
            self._loop.call_exception_handler(
                {"message": "a frame of a transcript failed", "exception": error}
            )

    def _fold(self) -> None:
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self._transcript = fold(self._transcript, event)

    def _frame(self) -> None:
        """One output for each sealed piece, one for all that may still change."""
        if self._quiet or self._up:  # what stands above a card must not move under the pointer
            return
        self._asked = _asked(self._transcript)
        pieces = self._live.pieces(self._transcript)
        sealed = [piece for piece in pieces if piece.sealed]
        numbers = (number for number in itertools.count(self._first) if number not in self._cards)
        for group in (*([piece] for piece in sealed), pieces[len(sealed) :]):
            if group:
                self._put(next(numbers), _joined(group))
        for unused in itertools.takewhile(lambda number: number < len(self._contents), numbers):
            self._put(unused, {"text/plain": ""})  # what was sealed is void: it is told anew

    def _put(self, number: int, data: Bundle, metadata: Bundle | None = None) -> None:
        """Show or change an output, unless it shows just that."""
        slot = f"{self._prefix}-{number}"
        if number == len(self._contents):
            self._contents.append(data)
            self._outlet.show(slot, data, metadata or {})
        elif self._contents[number] != data:
            self._contents[number] = data
            self._outlet.change(slot, data, metadata or {})


def _asked(transcript: Transcript) -> frozenset[str]:
    return frozenset(asked.question.id for asked in transcript.waiting)


def _timed(event: Event, asked: frozenset[str]) -> Event | LogEntry:
    """An answer with the time of now, if it was waited for: of those that are replayed nothing is known."""
    if isinstance(event, QuestionAnswered) and event.question_id in asked:
        return LogEntry("", 0, "", time.time(), event)
    return event


def _joined(pieces: Sequence[Piece]) -> Bundle:
    return {
        "text/html": "".join(piece.html for piece in pieces),
        "text/plain": "".join(piece.text for piece in pieces),
    }


class PlainPainter:
    """Text for a terminal, written as it comes."""

    def __init__(
        self,
        stream: TextIO,
        run: str = "",
        *,
        ascii: bool = False,  # noqa: A002  as the renderer calls it
        quiet: bool = False,
        interval: float = INTERVAL,
    ) -> None:
        self._stream = stream
        self._quiet = quiet
        self._interval = interval
        self._transcript = Transcript(run=run, raises=True)
        self._live = Live(times=True, ascii=ascii)
        self._asked: frozenset[str] = frozenset()
        self._written: dict[str, str] = {}
        self._done = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def take(self, event: Event) -> None:
        """Fold it; the next frame writes what is new."""
        if self._done:
            return
        self._transcript = fold(self._transcript, _timed(event, self._asked))
        if self._timer is None and not self._quiet:
            self._timer = self._loop.call_later(self._interval, self._tick)

    def put_card(self, view: Bundle, metadata: Bundle) -> Callable[[], None]:
        """A terminal shows no widgets: what was said so far is written, and the rest is typed."""
        if not self._done and not self._quiet:
            self._write()
        return _nothing

    def finish(self) -> None:
        """Write what is left."""
        if self._done:
            return
        self._done = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._quiet:
            self._write()
        self._stream.flush()

    def _tick(self) -> None:
        self._timer = None
        try:
            self._write()
        except Exception as error:  # noqa: BLE001  the border between a picture and a run: the run goes on
            self._loop.call_exception_handler(
                {"message": "a frame of a transcript failed", "exception": error}
            )

    def _write(self) -> None:
        """The texts of the pieces only grow at their ends, unless what was sealed is void."""
        self._asked = _asked(self._transcript)
        for piece in self._live.pieces(self._transcript):
            written = self._written.get(piece.key, "")
            if piece.text != written:
                new = piece.text[len(written) :] if piece.text.startswith(written) else f"\n{piece.text}"
                self._stream.write(new)
                self._written[piece.key] = piece.text
        self._stream.flush()


class Announcer:
    """What a screen reader is told of a run: sentences, tool calls and questions, not tokens."""

    def __init__(self) -> None:
        self._text = ""
        self._asked: dict[str, Asked] = {}

    def take(self, event: Event) -> str:
        """What to say after this event; empty for nothing."""
        match event:
            case TextDelta():
                return self._sentences(event.text)
            case CallStarted():
                return f"Calling {visible(event.name)}."
            case CallFinished():
                outcome = "done" if event.outcome == "ok" else event.outcome
                return f"{visible(event.result.name)}: {outcome}."
            case QuestionAsked():
                return self._question(Asked(event.question))
            case QuestionAnswered():
                return self._answer(event)
            case VariablesChanged() | ContextCompacted():
                return self._change(event)
            case RunFinished():
                said, self._text = self._text.strip(), ""
                return f"{visible(said)} Run {event.status}.".strip()
            case _:
                return ""

    def _change(self, event: VariablesChanged | ContextCompacted) -> str:
        if isinstance(event, ContextCompacted):
            return f"Context compacted: {event.tokens_before:,} to {event.tokens_after:,} tokens."
        return f"{acts.variables_title(Variables(event.call_id, event.changes, event.rolled_back))}."

    def _sentences(self, text: str) -> str:
        self._text += text
        end = max(self._text.rfind(mark) for mark in (". ", "! ", "? ", "\n"))
        if end < 0:
            return ""
        said, self._text = self._text[: end + 1], self._text[end + 1 :]
        return visible(said.strip())

    def _question(self, asked: Asked) -> str:
        question = asked.question
        self._asked[question.id] = asked
        if question.approval is not None:
            return f"Approval {visible(question.id)} is needed: {clipped(question.approval.tool, 100)}."
        return f"Question {visible(question.id)}: {clipped(question.title, 300)}"

    def _answer(self, event: QuestionAnswered) -> str:
        asked = self._asked.pop(event.question_id, None)
        if asked is None:
            return ""
        asked = replace(asked, how=event.how, value=event.value, by=event.by)
        told = acts.state(asked) if asked.question.approval is not None else acts.answer(asked)
        return f"{visible(event.question_id)}: {told}."
