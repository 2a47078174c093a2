"""What a session takes out of texts before it keeps, shows or sends them: secrets, each as `[secret NAME]`.

Three gates, one for each way in which a text travels. What comes from outside passes `result`, `question`
or a `Live`; what the user or the model says passes `message`; and every fact passes `kept` on its way into
the log. Known secrets are taken out everywhere, what only looks like one out of what comes from outside.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import msgspec

from loom_nb.errors import LoomError
from loom_nb.events import (
    CallDelta,
    CallOutput,
    Delta,
    Kept,
    Noticed,
    TextDelta,
    ThinkingDelta,
    VariablesChanged,
    event_to_json,
)
from loom_nb.messages import (
    DataPart,
    FilePart,
    Message,
    Part,
    ResultPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from loom_nb.protocols import Redaction
from loom_nb.questions import Question, secrets_typed
from loom_nb.redaction.key_forms import SHORTEST, key_forms, without_key_forms
from loom_nb.redaction.known import KnownSecrets
from loom_nb.redaction.redactor import RedactedText, Redactor
from loom_nb.runtime.artifacts import Packed

_S = TypeVar("_S", bound=msgspec.Struct)
_MARK = re.compile(r"\[secret\??( |:)")
_WORDS = ("text/", "application/json", "application/xml", "image/svg")


class _Nobody:
    """Knows of no secret."""

    in_use = False

    async def redact(self, text: str) -> str:
        """The text."""
        return text


_NOBODY = _Nobody()


class Redacting:
    """The gates of one session, or of all that know the same: they keep nothing themselves.

    Args:
        known: secrets that this process knows; none by default.
        others: takes out those that it does not know.
    """

    __slots__ = ("known", "others")

    def __init__(self, known: KnownSecrets | None = None, others: Redaction | None = None) -> None:
        self.known = known or KnownSecrets({})
        self.others: Redaction = others or _NOBODY

    @property
    def asks(self) -> bool:
        """Whether somebody else knows of secrets that were used."""
        return self.others.in_use

    @property
    def at_work(self) -> bool:
        """Whether there are known secrets at all."""
        return self.known.redactor is not None or self.others.in_use

    def suspects(self, parts: tuple[ResultPart, ...]) -> bool:
        """Whether what a tool gave is to be looked at more closely; looks at the environment anew."""
        known = self.known
        known.refresh()
        if known.redactor is not None or self.others.in_use:
            return True
        for part in parts:
            if type(part) is TextPart and len(part.text) >= SHORTEST and key_forms(part.text):
                return True
        return False

    def words(self, text: str) -> str:
        """A text without the secrets that this process knows."""
        redactor = self.known.redactor
        return text if redactor is None else redactor.text(text)

    async def text(self, text: str) -> str:
        """A text without any known secret."""
        text = self.words(text)
        if not text or not self.others.in_use:
            return text
        try:
            return await self.others.redact(text)
        except LoomError as error:  # better nothing than what nobody has looked through
            return f"[withheld: it cannot be seen whether it holds a secret: {error.title}]"

    # -- from outside ------------------------------------------------------------------------------

    async def result(self, parts: tuple[ResultPart, ...]) -> tuple[tuple[ResultPart, ...], int]:
        """What a tool gave without secrets, and how many were taken out."""
        made = tuple([await self._from_outside(part) for part in parts])
        if all(map(_same, made, parts)):
            return parts, 0
        return made, sum(map(_marks, made)) - sum(map(_marks, parts))

    async def _from_outside(self, part: Any) -> Any:
        if type(part) is TextPart or type(part) is DataPart:
            text = without_key_forms(await self.text(part.text))[0]
            return part if text == part.text else msgspec.structs.replace(part, text=text)
        redactor = self.known.redactor
        if type(part) is FilePart and part.media_type.startswith(_WORDS):
            data = await self._bytes(part.data if redactor is None else redactor.data(part.data))
            return part if data == part.data else msgspec.structs.replace(part, data=data)
        return part

    async def question(self, question: Question) -> Question:
        """What a person is shown; what an answer is held against stays as it is."""
        if not self.at_work:
            return question
        approval = question.approval
        if approval is not None:
            preview = await self.text(approval.preview)
            approval = msgspec.structs.replace(approval, preview=preview)
        title, text = await self.text(question.title), await self.text(question.text)
        return msgspec.structs.replace(question, title=title, text=text, approval=approval)

    def answered(self, question: Question, value: Any) -> None:
        """A person answered: what is secret of it is known from now on."""
        typed = secrets_typed(question, value)
        if typed:
            self.known.add(f"answer {question.id}" if question.id else "answer", *typed)

    def packed(self, kept: Packed) -> Packed:
        """An artifact; pictures and other data that are no words stay as they are."""
        redactor = self.known.redactor
        if not (kept.kind in ("text", "json", "table") or kept.media_type.startswith(_WORDS)):
            return kept
        made: Packed = kept if redactor is None else _without(redactor, kept)
        return blocking(lambda: self._packed(made)) if self.asks else made

    async def _packed(self, kept: Packed) -> Packed:
        """An artifact without the secrets that others know of."""
        data, head = await self._bytes(kept.data), msgspec.structs.replace(kept, data=b"")
        told = msgspec.json.encode(head).decode()
        if (made := await self.text(told)) != told:
            try:
                head = msgspec.json.decode(made, type=Packed)
            except (msgspec.DecodeError, ValueError):  # a number of it was one
                head = msgspec.structs.replace(head, summary="", table=None)
        return msgspec.structs.replace(head, data=data)

    async def _bytes(self, data: bytes) -> bytes:
        """Words without the secrets that others know of; what is not UTF-8 stays as it is."""
        if not self.asks:
            return data
        try:
            words = data.decode()
        except UnicodeDecodeError:
            return data
        made = [await self.text(words[start:end]) for start, end in _portions(words)]
        return "".join(made).encode("utf-8", "replace")

    # -- what is said ------------------------------------------------------------------------------

    async def message(self, message: Message) -> Message:
        """What the model said, or the user, without known secrets; values that travel with it are foreign."""
        if not self.at_work:
            return message
        parts = tuple([await self._said(part) for part in message.parts])
        same = all(map(_same, parts, message.parts))
        return message if same else msgspec.structs.replace(message, parts=parts)

    async def _said(self, part: Part) -> Part:
        match part:
            case TextPart(text=text):
                made = await self.text(text)
                return part if made == text else msgspec.structs.replace(part, text=made)
            case ThinkingPart(text=text):  # a vendor does not take back its reasoning in other words
                made = await self.text(text)
                return part if made == text else ThinkingPart(made, origin=part.origin)
            case ToolCallPart(arguments=arguments):
                made = await self.text(arguments)
                return part if made == arguments else msgspec.structs.replace(part, arguments=made)
            case FilePart() | DataPart():
                outside: Part = await self._from_outside(part)
                return outside
            case _:
                return part

    def doubts(self, message: Message) -> bool:
        """Whether a message of the user is to be looked at more closely; looks at the environment anew."""
        known = self.known
        known.refresh()
        if known.redactor is not None or self.others.in_use:
            return True
        for part in message.parts:
            if type(part) is not TextPart or (len(part.text) >= SHORTEST and key_forms(part.text)):
                return True
        return False

    async def asked(self, message: Message) -> tuple[Message, str]:
        """The user's message without known secrets, and what the user should be told of it."""
        if not self.doubts(message):
            return message, ""
        made = await self.message(message)
        if len(made.parts) > 1:
            outside = [
                await self._from_outside(part) if type(part) is DataPart else part for part in made.parts
            ]
            if not all(map(_same, outside, made.parts)):
                made = msgspec.structs.replace(made, parts=tuple(outside))
        taken = 0 if made is message else sum(map(_marks, made.parts)) - sum(map(_marks, message.parts))
        told = [f"{_count(taken)} taken out of what you sent."] if taken else []
        words = [part.text for part in made.parts if type(part) is TextPart]
        if kinds := dict.fromkeys(one.kind for text in words for one in key_forms(text)):
            what = ", ".join(kinds)
            told.append(
                f"The prompt holds what looks like a secret ({what}): the model reads it, and the notebook"
                " keeps it. `%loom key set NAME` puts it where neither does."
            )
        return made, " ".join(told)

    def kept(self, event: Kept) -> Kept:
        """A fact as the log may hold it."""
        redactor = self.known.redactor
        if type(event) is VariablesChanged:
            event = _described(event)
        if redactor is None:
            return event
        try:
            if not redactor.holds(event_to_json(event)):
                return event
            return _without(redactor, event)
        except (TypeError, ValueError, RecursionError) as error:
            return Noticed(f"a {event.type} could not be kept: {type(error).__name__}", "warning")

    def deltas(self, show: Callable[[Delta], None]) -> "ShownDeltas | None":
        """Shows what a model says while it does; None where there is nothing to take out."""
        redactor = self.known.redactor
        return None if redactor is None else ShownDeltas(show, redactor)


def _portions(text: str) -> Iterator[tuple[int, int]]:
    """Where to part a text that is too long to be asked about at once: behind lines, where it has some."""
    start = 0
    while start < len(text):
        end = min(start + _PORTION, len(text))
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield start, end
        start = end


_PORTION = 2**22
"""Characters."""


def taken_out(count: int, name: str) -> Noticed:
    """The notice that a result of a tool is not as the tool gave it."""
    return Noticed(f"{_count(count)} taken out of the result of {name}.", "warning")


def _count(count: int) -> str:
    return "1 secret was" if count == 1 else f"{max(count, 1)} secrets were"


def _without(redactor: Redactor, value: _S) -> _S:
    plain = msgspec.to_builtins(value, builtin_types=(bytes,))
    return msgspec.convert(redactor.plain(plain), type(value))


def _described(event: VariablesChanged) -> VariablesChanged:
    """What is told of values comes from outside too."""
    changes = tuple(
        msgspec.structs.replace(
            one, before=without_key_forms(one.before)[0], after=without_key_forms(one.after)[0]
        )
        for one in event.changes
    )
    return event if changes == event.changes else msgspec.structs.replace(event, changes=changes)


def _same(one: object, other: object) -> bool:
    return one is other


def _marks(part: Part | ResultPart) -> int:
    if isinstance(part, TextPart | DataPart | ThinkingPart):
        return len(_MARK.findall(part.text))
    if isinstance(part, ToolResultPart):
        return sum(map(_marks, part.parts))
    return 0


# -- what is shown while it comes ------------------------------------------------------------------


class ShownDeltas:
    """Shows the deltas of a model without secrets, wherever these were cut."""

    __slots__ = ("_last", "_redactor", "_show", "_texts")

    def __init__(self, show: Callable[[Delta], None], redactor: Redactor) -> None:
        self._show = show
        self._redactor = redactor
        self._texts: dict[tuple[str, str], RedactedText] = {}
        self._last: dict[tuple[str, str], Delta] = {}

    def __call__(self, delta: Delta) -> None:
        """The next piece."""
        channel = (delta.type, delta.call_id if isinstance(delta, CallDelta) else "")
        text = self._texts.get(channel)
        if text is None:
            text = self._texts[channel] = RedactedText(self._redactor)
        self._last[channel] = delta
        said = delta.arguments if isinstance(delta, CallDelta) else delta.text
        shown = text.feed(said)
        if shown == said:
            self._show(delta)
        elif shown or isinstance(delta, CallDelta):
            self._show(_saying(delta, shown))

    def end(self) -> None:
        """The message is over: what was held back is shown."""
        for channel, text in self._texts.items():
            if rest := text.end():
                self._show(_saying(self._last[channel], rest))
        self._texts.clear()
        self._last.clear()


def _saying(delta: Delta, text: str) -> Delta:
    match delta:
        case CallDelta():
            return msgspec.structs.replace(delta, arguments=text)
        case ThinkingDelta():
            return ThinkingDelta(text)
        case TextDelta():
            return TextDelta(text)


_KEY_BEGUN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_MOST_HELD = 4_096
_MOST_OF_KEY = 40_000
_CONTEXT = 100
"""Characters before a piece that may name what stands in it: `password: `."""


class Live:
    """The output of one call, as it comes: without secrets, wherever it was cut.

    A word is held back until it has ended, for it may be the beginning of a secret; where somebody else
    has to be asked, a line is.
    """

    __slots__ = ("_asking", "_before", "_call_id", "_exact", "_held", "_lines", "_redacting", "_show")

    def __init__(self, redacting: Redacting, show: Callable[[CallOutput], None], call_id: str) -> None:
        self._redacting = redacting
        self._show = show
        self._call_id = call_id
        self._exact: RedactedText | None = None
        self._held = ""
        self._before = ""
        self._lines = ""
        self._asking: asyncio.Task[None] | None = None

    def feed(self, text: str) -> None:
        """The next piece. On the thread of the loop."""
        redactor = self._redacting.known.redactor
        if self._exact is None and redactor is not None:
            self._exact = RedactedText(redactor)
        self._take(self._exact.feed(text) if self._exact is not None else text)

    def _take(self, text: str, *, last: bool = False) -> None:
        text, self._held = self._held + text, ""
        if not last:
            keep = _held_from(text)
            text, self._held = text[:keep], text[keep:]
        if not text:
            return
        made = _without_forms(self._before, text)
        self._before = (self._before + made)[-_CONTEXT:]
        if self._asking is None and not self._lines and not self._redacting.asks:
            self._show(CallOutput(self._call_id, made))
            return
        self._lines += made
        if self._asking is None and ("\n" in made or "\r" in made):
            self._asking = asyncio.ensure_future(self._ask())

    async def _ask(self) -> None:
        """Show whole lines, in order, as long as there are any."""
        try:
            while (end := max(self._lines.rfind("\n"), self._lines.rfind("\r")) + 1) > 0:
                lines, self._lines = self._lines[:end], self._lines[end:]
                self._show(CallOutput(self._call_id, await self._redacting.text(lines)))
        finally:
            self._asking = None

    async def end(self) -> None:
        """The call is over: what was held back is shown."""
        self._take(self._exact.end() if self._exact is not None else "", last=True)
        if self._asking is not None:
            await asyncio.wait([self._asking])
        if self._lines:
            lines, self._lines = self._lines, ""
            self._show(CallOutput(self._call_id, await self._redacting.text(lines)))


def _held_from(text: str) -> int:
    """Where something begins at the end of a text that is not seen whole yet."""
    keep, tail = len(text), text[-_MOST_HELD:]
    if tail and not tail[-1].isspace():
        word = tail.split()[-1]
        if len(word) < _MOST_HELD and any(map(str.isalnum, word)):
            keep -= len(word)
    for begun in _KEY_BEGUN.finditer(text):
        if text.find("-----END", begun.end()) < 0 and len(text) - begun.start() < _MOST_OF_KEY:
            return min(keep, begun.start())
    return keep


def _without_forms(before: str, text: str) -> str:
    """A text without what looks like a secret behind what stood before it."""
    line = before[max(before.rfind("\n"), before.rfind("\r")) + 1 :]
    found = [one for one in key_forms(line + text) if one.end > len(line)]
    made: list[str] = []
    done = 0
    for one in found:
        start = max(one.start - len(line), done)
        made += (text[done:start], f"[secret? {one.kind}]")
        done = one.end - len(line)
    return "".join((*made, text[done:])) if made else text


def blocking(work: Callable[[], Coroutine[Any, Any, _S]]) -> _S:
    """What a coroutine gives, for who cannot wait for it: in a thread and a loop of its own."""
    import threading

    given: list[_S | BaseException] = []

    def run() -> None:
        try:
            given.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001  raised again where it was asked for
            given.append(error)

    thread = threading.Thread(target=run, name="loom-redaction", daemon=True)
    thread.start()
    thread.join()
    (one,) = given
    if isinstance(one, BaseException):
        raise one
    return one
