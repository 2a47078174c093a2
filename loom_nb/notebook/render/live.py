"""A growing transcript in pieces, of which only the last ones change.

What is complete is *sealed* into pieces that never change again, each larger than the one before,
so that even a megabyte takes at most forty; a redraw costs as much as what is still open. The whole
document is made the same way, so that what is seen live and what is saved are the same HTML.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from loom_nb.notebook.render import acts, attachments, facts, text
from loom_nb.notebook.render import html_blocks as html
from loom_nb.notebook.render.segments import Segment, Splitter
from loom_nb.notebook.transcript import Asked, Block, Card, Prompt, Transcript, Words

FIRST = 4_096
"""Characters of HTML that fill the first piece."""
GROWTH, STEEP = 1.1, 1.7
"""By how much each further piece is larger: gently at first, steeply when there are many."""
MANY = 30


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a transcript to be shown in a display of its own."""

    key: str
    """The same part has the same key from frame to frame."""
    html: str
    text: str
    """The same as plain text. While the piece is open it only ever grows at its end; the texts of all
    pieces of a finished run, joined, are the plain surface."""
    sealed: bool
    """It will not change any more."""


class Live:
    """Draws one transcript again and again, remembering what is sealed.

    Give it successive transcripts of one run. Should something sealed have changed after all (an
    attempt that had begun to answer was thrown away), it begins anew.
    """

    def __init__(
        self,
        *,
        times: bool = False,
        ascii: bool = False,  # noqa: A002  the name of the option
        prompt: bool = False,
        asked_elsewhere: bool = False,
    ) -> None:
        self._look = Look(times, ascii, prompt, asked_elsewhere)
        self._drawing = Drawing(self._look)

    def pieces(self, transcript: Transcript) -> list[Piece]:
        """The sealed pieces, the open one, and the status line."""
        if not self._drawing.continues_with(transcript):
            self._drawing = Drawing(self._look, revision=transcript.revision)
        return self._drawing.pieces(transcript)


def pieces(transcript: Transcript, *, times: bool = False, ascii: bool = False) -> list[Piece]:  # noqa: A002  the name of the option
    """The pieces of one transcript. Whoever draws it again and again keeps a `Live`."""
    return Live(times=times, ascii=ascii).pieces(transcript)


@dataclass(frozen=True, slots=True)
class Look:
    """How a transcript is drawn."""

    times: bool = False
    """Show what differs from run to run: durations and ids."""
    ascii: bool = False
    """Plain text without a mark that is not ASCII."""
    prompt: bool = False
    """Show the first prompt too: for where it does not stand above."""
    asked_elsewhere: bool = False
    """A widget asks: what a call that waits is about stays folded away here, any other question stays out."""


def document(transcript: Transcript, look: Look) -> tuple[str, str]:
    """The whole transcript as HTML and as plain text, however far it has come."""
    drawing = Drawing(look, whole=True)
    drawing.open(transcript)
    drawing.seal(transcript)
    shown = [*drawing.text, drawing.lead() + text.footer(transcript, drawing.marks, times=look.times) + "\n"]
    markup = [*drawing.html, html.footer(transcript, times=look.times)]
    return html.section("".join(markup)), "".join(shown)


@dataclass(slots=True)
class Drawing:
    """How far a transcript has been drawn."""

    look: Look
    whole: bool = False
    """Everything is complete and goes into one piece."""
    revision: int = 0
    sealed: list[Piece] = field(default_factory=list)
    html: list[str] = field(default_factory=list)
    """Complete parts that do not yet fill a piece."""
    text: list[str] = field(default_factory=list)
    _size: int = 0
    _started: bool = False
    _ended: bool = False
    _block: int = 0
    _splitter: Splitter | None = None
    _chunks: int = 0
    _gap: str = ""
    _after_card: bool = False

    def continues_with(self, transcript: Transcript) -> bool:
        """Whether what was drawn is still true."""
        return transcript.revision == self.revision and not self._ended and _count(transcript) >= self._block

    def pieces(self, transcript: Transcript) -> list[Piece]:
        """Draw what is new."""
        self.open(transcript)
        self.seal(transcript)
        if transcript.finished:
            self._ended = True
            self._close()
            line = self.lead() + text.footer(transcript, self.marks, times=self.look.times) + "\n"
            markup = html.section(html.footer(transcript, times=self.look.times))
            return [*self.sealed, Piece("end", markup, line, sealed=True)]
        return [*self.sealed, *self._unsealed(transcript)]

    def open(self, transcript: Transcript) -> None:
        """The lines above the answer, as soon as they are known."""
        known = transcript.prompt is not None or transcript.finished or transcript.current
        if self._started or not known:
            return
        self._started = True
        self._add(html.demo(transcript), "DEMO" if transcript.demo else "")
        prompt = transcript.prompt
        self._add(html.used(prompt) + attachments.html(prompt), text.used(prompt, self.marks))

    def seal(self, transcript: Transcript) -> None:
        """All that will not change any more."""
        for block in _blocks_from(transcript, self._block):
            final = block.closed or transcript.finished or self.whole
            if isinstance(block, Words):
                self._words(block, final)
            elif final:
                self._whole(block, transcript)
            if not final:
                return
            self._block += 1
        if transcript.finished or self.whole:
            over = transcript.finished
            self._add(html.plan(transcript.plan, finished=over), text.plan(transcript.plan, self.marks))
        if transcript.finished:
            self._add(html.evidence(transcript), text.evidence(transcript, self.marks))
            self._add(html.failure(transcript), text.failure(transcript))

    def _words(self, block: Words, final: bool) -> None:
        splitter = self._splitter or Splitter()
        self._splitter = splitter
        for chunk in block.text.since(self._chunks):
            for segment in splitter.feed(chunk):
                self._segment(segment, block)
        self._chunks = len(block.text)
        if not final:
            return
        for segment in splitter.finish():
            self._segment(segment, block)
        if block.partial:
            self._gap = ""
            self._add(html.cut_off(), f"({self.marks.cut} the answer was cut off here)")
        self._splitter, self._chunks, self._gap = None, 0, ""

    def _segment(self, segment: Segment, block: Words) -> None:
        shown = text.words(segment, block.evidence)
        if shown.strip():
            self._add(html.words(segment, block.evidence), shown)
            self._gap = text.gap_after(segment)

    def _whole(self, block: Block, transcript: Transcript) -> None:
        if isinstance(block, Prompt) and block.first and not self.look.prompt:
            return
        finished = transcript.finished
        shown = text.block(block, self.marks, times=self.look.times, finished=finished)
        if isinstance(block, Card) and self._after_card:
            self._gap = "\n"
        self._add(html.block(block, times=self.look.times, finished=finished), shown)
        self._after_card = isinstance(block, Card)

    def _add(self, markup: str, shown: str) -> None:
        """One more part that will not change."""
        if not markup:
            return
        self.html.append(markup)
        if shown:
            self.text.append(self.lead() + shown)
        self._size += len(markup)
        self._gap, self._after_card = "", False
        if self._size >= limit(len(self.sealed)) and not self.whole:
            self._close()

    def lead(self) -> str:
        """What stands before the next part of the text."""
        first = not self.text and not any(piece.text for piece in self.sealed)
        return "" if first else self._gap or "\n\n"

    def _close(self) -> None:
        if self.html:
            self.sealed.append(self._piece(sealed=True))
            self.html, self.text, self._size = [], [], 0

    def _piece(self, *extra: str, shown: str = "", sealed: bool = False) -> Piece:
        markup = html.section("".join([*self.html, *extra]))
        return Piece(str(len(self.sealed)), markup, "".join(self.text) + shown, sealed)

    def _unsealed(self, transcript: Transcript) -> Iterator[Piece]:
        extra, shown = [], ""
        for number, block in enumerate(_blocks_from(transcript, self._block)):
            if isinstance(block, Words):
                splitter = self._splitter if number == 0 and self._splitter else Splitter()
                if splitter is not self._splitter:
                    fed = splitter.feed(str(block.text))
                    extra += [html.words(segment, block.evidence) for segment in fed]
                rest, within = splitter.rest, splitter.in_fence
                extra.append(html.open_words(rest, in_fence=within, evidence=block.evidence))
                shown = shown or (self._sure(rest, block) if number == 0 else "")
            elif not (self.look.asked_elsewhere and isinstance(block, Asked)):
                opened = not self.look.asked_elsewhere
                extra.append(html.block(block, times=self.look.times, finished=False, opened=opened))
        if self.html or extra:
            yield self._piece(*extra, shown=shown)
        plan = html.plan(transcript.plan, finished=False)
        yield Piece("end", html.section(plan + html.activity(transcript)), "", False)

    def _sure(self, rest: Segment, block: Words) -> str:
        """The words of a growing text that no further letter can change."""
        end = max(rest.source.rfind(" "), rest.source.rfind("\n"))
        last = rest.source.rfind("\n") + 1
        if acts.MAY_BE_OURS.match(rest.source, last):  # whether it is marked as quoted is seen at its end
            end = acts.start_of_words(rest.source, last)
        sure = Segment(rest.source[:end], rest.opening)
        shown = text.words(sure, block.evidence).rstrip() if end > 0 else ""
        return self.lead() + shown if shown else ""

    @property
    def marks(self) -> facts.Glyphs:
        """The marks of the text."""
        return facts.glyphs(self.look.ascii)


def limit(number: int) -> float:
    """Characters of HTML that fill the piece with this number."""
    return FIRST * GROWTH ** min(number, MANY) * STEEP ** max(0, number - MANY)


def _count(transcript: Transcript) -> int:
    return len(transcript.settled) + len(transcript.current)


def _blocks_from(transcript: Transcript, index: int) -> list[Block]:
    settled = len(transcript.settled)
    return [*transcript.settled.since(index), *transcript.current[max(0, index - settled) :]]
