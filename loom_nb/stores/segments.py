"""The file of one session: a line of JSON for each entry, only ever appended to.

::

    {"sum":"…","log":1,"session":"nb-1"}
    {"sum":"…","prev":"…","seq":1,"more":0,"mark":0,"run":"r1","time":1.5,"event":{"type":…}}

`sum` is over the session's id and the rest of the line, `prev` is the sum of the line before: each
line is checked by itself, and none can be taken out. `more` counts the lines of the same append that
follow: an append whose last line is missing never happened. `mark` is where the last landmark before
this line begins (a run that starts or ends, a question): listings hop from one to the next.

A crash leaves a line without its end, an append without its last line, or, after a power cut, zeros.
All else that does not match is damage.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec

from loom_nb.errors import StoreError
from loom_nb.events import LogEntry, event_from_json
from loom_nb.stores.damage import Damage, unread
from loom_nb.stores.disk import ELSEWHERE
from loom_nb.stores.encoding import event_bytes, no_json
from loom_nb.stores.leases import out_of_order

VERSION = 1
STARTS = frozenset({"RunStarted"})
ENDS = frozenset({"RunFinished", "RunInterrupted"})
QUESTIONS = frozenset({"QuestionAsked", "QuestionAnswered", "GrantRevoked"})
LANDMARKS = STARTS | ENDS | QUESTIONS

_HEX = 32
_REST = len('{"sum":"",') + _HEX
_NEAR = 8 * 1024
"""A search among lines ends when this many bytes are left: they are read in one go."""
_ZEROS = bytes(16)
_KIND = re.compile(rb'\{"type":"(\w+)"')


class _Head(msgspec.Struct):
    sum: str
    log: int
    session: str


class _Row(msgspec.Struct):
    sum: str
    prev: str
    seq: int
    more: int
    mark: int
    run: str
    time: float
    event: msgspec.Raw


_HEADS = msgspec.json.Decoder(_Head)
_ROWS = msgspec.json.Decoder(_Row)


@dataclass(frozen=True, slots=True)
class Line:
    """One whole line, and where it is."""

    offset: int
    end: int
    seq: int
    more: int
    mark: int
    """Of the last landmark before this line; 0 where there is none."""
    run: str
    time: float
    sum: str
    prev: str
    kind: str
    event: bytes

    @property
    def last_mark(self) -> int:
        """Of the last landmark up to this line."""
        return self.offset if self.kind in LANDMARKS else self.mark

    def entry(self, session: str) -> LogEntry | Damage:
        """The entry of the log that it holds."""
        try:
            return LogEntry(session, self.seq, self.run, self.time, event_from_json(self.event))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return unread(session, self.seq, error)


@dataclass(frozen=True, slots=True)
class End:
    """Where the next line goes, and what it has to follow."""

    offset: int
    seq: int
    sum: str
    mark: int
    time: float = 0.0


class Damaged(Exception):
    """A place in a file that is not as it was written. Never leaves this package."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(str(damage))
        self.damage = damage


def head(session: str) -> bytes:
    """The first line of the file of a session."""
    rest = b'"log":%d,"session":%s}' % (VERSION, msgspec.json.encode(session))
    return b'{"sum":"%s",%s\n' % (_sum(session.encode(), rest).encode(), rest)


def beginning(session: str) -> End:
    """The end of a log that holds nothing but its first line."""
    line = head(session)
    return End(len(line), 0, line[8 : 8 + _HEX].decode(), 0)


def encode(session: str, entries: Sequence[LogEntry], end: End) -> tuple[bytes, list[Line]]:
    """Entries as lines that follow `end`. Raises `StoreError` for a gap, and for what is no JSON."""
    name = session.encode()
    lines: list[Line] = []
    pieces: list[bytes] = []
    offset, previous, mark = end.offset, end.sum, end.mark
    for seq, entry in enumerate(entries, end.seq + 1):
        if entry.seq != seq or entry.session != session:
            raise out_of_order(session, seq, entry.session, entry.seq)
        more = len(entries) - len(lines) - 1
        rest = _rest(entry, previous, more, mark)
        total = _sum(name, rest)
        pieces.append(b'{"sum":"%s",%s\n' % (total.encode(), rest))
        after = offset + len(pieces[-1])
        line = Line(
            offset, after, seq, more, mark, entry.run, entry.time, total, previous, entry.event.type, b""
        )
        lines.append(line)
        offset, previous, mark = after, total, line.last_mark
    return b"".join(pieces), lines


class Segment:
    """The file of one session, open for reading, as long as it was when it was opened.

    Args:
        path: the file.
        session: whose log it has to be; None to believe what it says.
        kept: how many bytes were acknowledged, where that is known: they must all be there.

    Raises OSError, `Damaged` where its first line is not as it was written, and `StoreError` where a
    newer version wrote it.
    """

    def __init__(self, path: Path, session: str | None, kept: int = 0) -> None:
        self.kept = kept
        self._file = path.open("rb")
        try:
            self.size = self._file.seek(0, 2)
            self._file.seek(0)
            line = self._file.readline()
            self.start = len(line)
            self._sum, self.session = _read_head(line, path, session)
            self._name = self.session.encode()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Segment":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def at(self, offset: int) -> Line | None:
        """The line that begins there; None where none does, or it is bad."""
        if not self.start <= offset < self.size:
            return None
        self._file.seek(offset)
        return self._parse(self._file.readline(), offset)

    def end(self) -> End:
        """After the last append that is whole. Raises `Damaged` where what follows is no torn append."""
        last = self._last()
        if last is None:
            self._be_torn(self.start, 0)
            return End(self.start, 0, self._sum, 0)
        self._be_torn(last.end, last.seq)
        return End(last.end, last.seq, last.sum, last.last_mark, last.time)

    def walk(self, after: int = 0) -> Iterator[Line | Damage]:
        """The lines with `seq > after` of whole appends; a Damage in the place of the first bad one."""
        whole, seq, previous = self._search(after)
        offset, batch = whole, list[Line]()
        self._file.seek(offset)
        while offset < self.size:
            raw = self._file.readline()
            line = self._parse(raw, offset)
            problem = _problem(line, seq + 1, previous)
            if line is None or problem:
                if line is not None or not self._is_torn(whole):
                    yield from (kept for kept in batch if kept.seq > after)
                    yield Damage(self.session, seq + 1, problem)
                return
            batch.append(line)
            offset, seq, previous = line.end, line.seq, line.sum
            if line.more == 0:
                yield from (kept for kept in batch if kept.seq > after)
                whole, batch = offset, []
                self._file.seek(offset)  # the caller may have read elsewhere in the meantime
        if whole < self.kept:
            yield from (kept for kept in batch if kept.seq > after)
            yield Damage(self.session, seq + 1, "missing, and so is all after it")

    def landmarks(self, end: End) -> Iterator[Line]:
        """The landmarks up to `end`, last first. Raises `Damaged` at a bad one."""
        mark = end.mark
        while mark:
            line = self.at(mark)
            if line is None or line.kind not in LANDMARKS or line.mark >= mark:
                raise Damaged(Damage(self.session, 0, f"no landmark at byte {mark}"))
            yield line
            mark = line.mark

    def survivors(self) -> Iterator[Line]:
        """All lines that are whole, however much is damaged between them."""
        offset = self.start
        while offset < self.size:
            self._file.seek(offset)
            raw = self._file.readline()
            line = self._parse(raw, offset)
            offset += len(raw)
            if line is not None:
                yield line

    def _parse(self, raw: bytes, offset: int) -> Line | None:
        if offset + len(raw) > self.size or raw[-1:] != b"\n" or raw[40:42] != b'",':
            return None
        if _sum(self._name, raw[_REST:-1]).encode() != raw[8:40]:
            return None
        try:
            row = _ROWS.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        event = bytes(row.event)
        kind = _KIND.match(event)
        return Line(
            offset,
            offset + len(raw),
            row.seq,
            row.more,
            row.mark,
            row.run,
            row.time,
            row.sum,
            row.prev,
            kind[1].decode() if kind else "",
            event,
        )

    def _search(self, after: int) -> tuple[int, int, str]:
        """A line end with no more than `after` entries before it: its offset, entries and sum."""
        found, high = (self.start, 0, self._sum), self.size
        while after > 0 and high - found[0] > _NEAR:
            middle = (found[0] + high) // 2
            self._file.seek(middle)
            offset = middle + len(self._file.readline())
            line = self.at(offset) if offset < high else None
            if line is not None and line.seq <= after:
                found = line.end, line.seq, line.sum
            else:
                high = middle
        return found

    def _backward(self) -> Iterator[tuple[int, bytes]]:
        """The lines and where they begin, last first; the last may lack its end."""
        start, block, buffer = self.size, 4096, b""
        while True:
            cut = buffer.rfind(b"\n", 0, max(len(buffer) - 1, 0))
            while cut < 0 and start > self.start:
                step = min(block, start - self.start)
                start, block = start - step, block * 2
                self._file.seek(start)
                buffer = self._file.read(step) + buffer
                cut = buffer.rfind(b"\n", 0, max(len(buffer) - 1, 0))
            if not buffer:
                return
            yield start + cut + 1, buffer[cut + 1 :]
            buffer = buffer[: cut + 1]

    def _last(self) -> Line | None:
        """The last line of the last append of which every line is there."""
        last: Line | None = None
        below: Line | None = None
        for offset, raw in self._backward():
            line = self._parse(raw, offset)
            if last is not None and line is not None and line.more == 0 and _follows(below, line):
                return last
            if line is None or (line.more and not _follows(below, line)):
                last = below = None
            elif line.more == 0:
                last = below = line
                if line.end <= self.kept:
                    return last
            else:
                below = line
        return last if below is not None and below.prev == self._sum else None

    def _be_torn(self, whole: int, seq: int) -> None:
        """Raise `Damaged` unless all from `whole` on is what a crash leaves."""
        if self.size < self.kept or (whole < self.size and not self._is_torn(whole)):
            raise Damaged(Damage(self.session, seq + 1, "the line does not match its sum"))

    def _is_torn(self, whole: int) -> bool:
        if whole < self.kept:
            return False
        self._file.seek(whole)
        rest = self._file.read(self.size - whole)
        if _ZEROS in rest:
            return True
        *lines, last = rest.split(b"\n")
        offset = whole
        for line in lines:
            if self._parse(line + b"\n", offset) is None:
                return False
            offset += len(line) + 1
        return not last or self._parse(last[:-1] + b"\n", offset) is None  # else: another byte for its end


def _follows(line: Line | None, before: Line) -> bool:
    return line is not None and line.prev == before.sum and line.seq == before.seq + 1


def _problem(line: Line | None, seq: int, previous: str) -> str:
    if line is None:
        return "the line does not match its sum"
    if line.seq > seq:
        return f"missing, up to entry {line.seq - 1}"
    if line.seq < seq or line.prev != previous:
        return "the line does not follow the one before"
    return ""


def _rest(entry: LogEntry, previous: str, more: int, mark: int) -> bytes:
    if not math.isfinite(entry.time):
        raise no_json(entry, f"{entry.time} is no time")
    try:
        run, time = msgspec.json.encode(entry.run), msgspec.json.encode(float(entry.time))
    except UnicodeEncodeError as error:
        raise no_json(entry, str(error)) from None
    return b'"prev":"%s","seq":%d,"more":%d,"mark":%d,"run":%s,"time":%s,"event":%s}' % (
        previous.encode(),
        entry.seq,
        more,
        mark,
        run,
        time,
        event_bytes(entry),
    )


def _sum(session: bytes, rest: bytes) -> str:
    import hashlib

    digest = hashlib.blake2b(session, digest_size=_HEX // 2)
    digest.update(b"\0%d\0" % len(session))
    digest.update(rest)
    return digest.hexdigest()


def _read_head(line: bytes, path: Path, session: str | None) -> tuple[str, str]:
    try:
        said = _HEADS.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Damaged(Damage(session or path.stem, 0, "its first line is not as it was written")) from None
    if _sum(said.session.encode(), line[_REST:-1]) != said.sum or not line.endswith(b"\n"):
        raise Damaged(Damage(session or path.stem, 0, "its first line is not as it was written"))
    if said.log > VERSION:
        raise StoreError(
            f"The log {path} was written by a newer loom_nb",
            cause=f"its form is {said.log}, ours {VERSION}",
            fixes=("pip install --upgrade loom-nb", ELSEWHERE),
        )
    if session not in {None, said.session}:
        raise Damaged(Damage(session or "", 0, f"its file is the one of session {said.session!r}"))
    return said.sum, said.session
