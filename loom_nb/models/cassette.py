"""Record and replay: the replies of a real model in a file, found again by the request.

A request is known by the hash of its canonical form: model, system text, tools, messages, options,
with the values of secret environment variables blotted out, as far as `Blotter` finds them. A
request that the file does not hold is drift: an error that shows what changed since the recording.

A reply that was broken off is recorded too, and played up to where it was: by a cap, as long as the
caps are the same; by a person, or before it was sent, where an answer was recorded after it. At the
end of a recording `auto` asks for those anew.
"""

import asyncio
import copy
import difflib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, cast, get_args

import msgspec

from loom_nb.border import parse_object
from loom_nb.errors import (
    BorderError,
    EndFault,
    LoomUsageError,
    ReplayDrift,
    RunFailed,
    RunLimited,
    RunStopped,
)
from loom_nb.events import CallDelta, Delta, TextDelta, ThinkingDelta
from loom_nb.models.blotting import Blotter
from loom_nb.models.plain import plain_request
from loom_nb.protocols import LanguageModel, Reply, Request
from loom_nb.remedies import remedies

Mode = Literal["auto", "record", "replay", "strict"]
"""auto: play what is recorded, ask the model for the rest and record it. record: always ask, and
begin the file anew. replay: never ask. strict: never ask, and the requests must come once each, in
the order of the recording."""

VERSION = 1
_MAX_BYTES = 1 << 30
_MAX_DIFF_LINES = 40
_WIDTH = 96


class Broken(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a model call ended that has no whole reply."""

    status: Literal["limit", "stopped"]
    title: str
    reason: str = ""
    fault: str = ""
    caps: str = ""
    """Under which a limit was reached: under others it may not be."""
    fixes: tuple[str, ...] = ()

    def error(self) -> RunFailed:
        """The same end again."""
        kind = RunLimited if self.status == "limit" else RunStopped
        return kind(self.title, reason=self.reason, fault=cast("EndFault", self.fault), fixes=self.fixes)


class Interaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One recorded model call: its reply, or what was shown of it and how it was broken off."""

    key: str
    request: dict[str, Any]
    deltas: list[TextDelta | ThinkingDelta | CallDelta]
    reply: Reply | None = None
    broken: Broken | None = None

    def is_played(self, key: str, caps: str) -> bool:
        """Whether it is what comes of a request under these caps."""
        limited = self.broken is not None and self.broken.status == "limit"
        return self.key == key and not (limited and self.broken and self.broken.caps != caps)

    @property
    def may_go_on(self) -> bool:
        """Whether it may end otherwise next time: a person stopped it, or it was not even sent."""
        return self.broken is not None and (self.broken.status == "stopped" or not self.deltas)


class Cassette:
    """The file, its interactions in the order of their recording, and how far it was played.

    Read at its first use. Models that are opened from the same `Model` share it, so that several
    sessions go on where the one before stopped. Several processes may add to a file side by side.

    Args:
        path: the file; need not exist.
        mode: see `Mode`.
    """

    def __init__(self, path: str | Path, mode: Mode = "auto") -> None:
        if mode not in get_args(Mode):
            raise LoomUsageError(f"a cassette has no mode '{mode}'", fixes=["auto, record, replay or strict"])
        self.path = Path(path)
        self.mode = mode
        self.place = 0
        """How many interactions were played in a row; where the next one is expected."""
        self._known: list[Interaction] | None = None
        self._played: dict[str, int] = {}

    @property
    def interactions(self) -> list[Interaction]:
        """All of them. A recording that begins anew holds none at first.

        Raises:
            LoomUsageError: the file is there and cannot be read.
        """
        if self._known is None:
            self._known = [] if self.mode == "record" else _read(self.path)
        return self._known

    def play(self, key: str, caps: str = "") -> Interaction | None:
        """The next recording of a request; the last one again where it was recorded less often."""
        if self.mode == "record":
            return None
        if self.mode == "strict":
            here = self.interactions[self.place : self.place + 1]
            if not here or not here[0].is_played(key, caps):
                return None
            self.place += 1
            return here[0]
        places = self._places(key, caps)
        if not places:
            return None
        turn = self._played.get(key, 0)
        self._played[key] = turn + 1
        place = places[min(turn, len(places) - 1)]
        self.place = place + 1
        return self.interactions[place]

    def holds(self, key: str, caps: str = "") -> bool:
        """Whether `play` would give a recording of a request."""
        return self.mode != "record" and bool(self._places(key, caps))

    def _places(self, key: str, caps: str) -> list[int]:
        """Where a request was recorded. What was stopped last of all, `auto` asks for anew."""
        known = self.interactions
        end = _settled(known) if self.mode == "auto" else len(known)
        return [place for place in range(end) if known[place].is_played(key, caps)]

    def add(self, interaction: Interaction) -> None:
        """Record one more, on disk at once and beside what other processes have recorded meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(self.path):
            begins = self.mode == "record" and not self.interactions
            before = [] if begins else _read(self.path)
            anew = (n for n in range(_settled(before), len(before)) if before[n].key == interaction.key)
            self._known = [*before[: next(anew, len(before))], interaction]
            document = {"loom_cassette": VERSION, "interactions": self._known}
            text = msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=1)
            temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
            temporary.write_bytes(text + b"\n")
            temporary.replace(self.path)
        self._played[interaction.key] = self._played.get(interaction.key, 0) + 1
        self.place = len(self._known)


class CassetteModel:
    """A LanguageModel that stands before another and plays what is recorded of it.

    Args:
        cassette: the recording.
        name: of the model that is recorded.
        open_model: opens that model; called only when it has to be asked.
        options: fields that the model adds to each request.
        key_env: environment variables that hold the model's key, whatever they are called.
        environment: where secret values are looked for; by default that of the process.
    """

    def __init__(
        self,
        cassette: Cassette,
        name: str,
        open_model: Callable[[], LanguageModel],
        *,
        options: Mapping[str, Any] | None = None,
        key_env: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._cassette = cassette
        self._open_model = open_model
        self._model: LanguageModel | None = None
        self._options = dict(options or {})
        self._key_env = tuple(key_env)
        self._environment = environment
        self._caps = ""

    def under(self, caps: str) -> "CassetteModel":
        """It, as it answers where these caps are watched. It is closed with this one."""
        other = copy.copy(self)
        other._open_model, other._caps = self._opened, caps
        return other

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """The recorded reply, or the model's own where the mode allows to ask it.

        Raises:
            ReplayDrift: the request is not in the recording; says what differs.
            RunLimited, RunStopped: the recorded reply was broken off so.
        """
        blotter, canonical, key = self._key(request)
        recorded = self._cassette.play(key, self._caps)
        if recorded is not None:
            for delta in recorded.deltas:
                emit(delta)
            if recorded.reply is None:
                raise (recorded.broken or Broken("stopped", "the reply was broken off")).error()
            return recorded.reply
        if self._cassette.mode in ("replay", "strict"):
            raise self._drift(canonical)
        deltas: list[Delta] = []

        def note(delta: Delta) -> None:
            deltas.append(delta)
            emit(delta)

        reply = await self._opened().reply(request, note)
        await asyncio.sleep(0)  # whoever broke it off meanwhile is heard before it is recorded as whole
        hidden = msgspec.convert(blotter.blot(msgspec.to_builtins(reply)), Reply)
        self._cassette.add(Interaction(key, canonical, blotter.blot_deltas(deltas), hidden))
        return reply

    def broke_off(self, request: Request, deltas: Sequence[Delta], end: RunFailed) -> None:
        """Record a reply that has no end, as far as it was shown.

        Args:
            request: that was asked, or that was not sent because a cap does not cover it.
            deltas: what was shown.
            end: why there was no more.
        """
        if self._cassette.mode in ("replay", "strict"):
            return
        blotter, canonical, key = self._key(request)
        limited = isinstance(end, RunLimited)
        caps = self._caps if limited else ""
        status: Literal["limit", "stopped"] = "limit" if limited else "stopped"
        broken = Broken(status, end.title, end.reason, end.fault, caps, end.fixes)
        self._cassette.add(Interaction(key, canonical, blotter.blot_deltas(list(deltas)), broken=broken))

    def plays(self, request: Request) -> bool:
        """Whether this request would be answered from the recording, or not at all: nothing is sent."""
        cassette = self._cassette
        return cassette.mode in ("replay", "strict") or cassette.holds(self._key(request)[2], self._caps)

    def _key(self, request: Request) -> tuple[Blotter, dict[str, Any], str]:
        """What hides secrets, the request without them, and what it is found by."""
        blotter = Blotter(os.environ if self._environment is None else self._environment, self._key_env)
        form = plain_request(self.name, request)
        canonical = blotter.blot(form | {"options": self._options} if self._options else form)
        key = hashlib.sha256(msgspec.json.encode(canonical, order="deterministic")).hexdigest()
        return blotter, canonical, key

    def _drift(self, canonical: dict[str, Any]) -> ReplayDrift:
        """What differs from the recording that stands where this request was expected."""
        cassette = self._cassette
        if not cassette.interactions:
            cause = f"{cassette.path.name} holds no recording"
        elif cassette.place >= len(cassette.interactions):
            cause = f"all {len(cassette.interactions)} recorded requests were played, this is one more"
        else:
            cause = "\n" + _difference(cassette.interactions[cassette.place].request, canonical)
        return ReplayDrift(
            f"request {cassette.place + 1} is not in the recording {cassette.path.name}",
            cause=cause,
            fixes=remedies("failed", "replay"),
        )

    def _opened(self) -> LanguageModel:
        self._model = self._model or self._open_model()
        return self._model

    def encode(self, request: Request) -> bytes:
        """What the recorded model would send."""
        return self._opened().encode(request)

    async def close(self) -> None:
        """Close the recorded model, where it was opened."""
        if self._model is not None:
            await self._model.close()

    def __repr__(self) -> str:
        return f"<CassetteModel {self.name} from {self._cassette.path.name}, {self._cassette.mode}>"


def _settled(known: Sequence[Interaction]) -> int:
    """How many come before those at the end on which nothing that was answered rests."""
    end = len(known)
    while end and known[end - 1].may_go_on:
        end -= 1
    return end


class _Document(msgspec.Struct):
    interactions: list[Interaction]


def _read(path: Path) -> list[Interaction]:
    try:
        document = parse_object(path.read_bytes(), what=path.name, max_bytes=_MAX_BYTES)
        version = document.get("loom_cassette")
        if version == VERSION:
            return msgspec.convert(document, _Document).interactions
        cause = "it holds no recording" if version is None else f"it has version {version}, not {VERSION}"
    except FileNotFoundError:
        return []
    except OSError as error:
        cause = error.strerror or type(error).__name__
    except (BorderError, msgspec.ValidationError) as error:
        cause = str(error).splitlines()[0]
    raise LoomUsageError(
        f"{path.name} is not a cassette that can be read",
        cause=cause,
        fixes=['mode="record" begins it anew', "give another path"],
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the right to write beside other processes of this machine, by a lock on a file next to it."""
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with lock.open("a+b") as held:
            _lock(held.fileno())
            try:
                if not _is_still(lock, held.fileno()):  # who had the lock has removed the file that we hold
                    continue
                yield
                with suppress(OSError):  # Windows does not remove what is open
                    lock.unlink()
                return
            finally:
                _unlock(held.fileno())


def _is_still(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _lock(file: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]  # only there
        return
    fcntl.flock(file, fcntl.LOCK_EX)


def _unlock(file: int) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]  # only there
        return
    fcntl.flock(file, fcntl.LOCK_UN)


def _difference(recorded: dict[str, Any], now: dict[str, Any]) -> str:
    """A unified diff of two requests, short enough to read."""
    lines = list(
        difflib.unified_diff(list(_lines(recorded)), list(_lines(now)), "recorded", "now", lineterm="", n=2)
    )
    more = len(lines) - _MAX_DIFF_LINES
    return "\n".join(lines[:_MAX_DIFF_LINES] + ([f"… {more} more lines"] if more > 0 else []))


def _lines(value: Any, name: str = "request", indent: str = "") -> Iterator[str]:
    """Plain data as an outline; texts line by line, so that a diff shows the words that changed."""
    match value:
        case dict():
            yield f"{indent}{name}:"
            for key in sorted(value):
                yield from _lines(value[key], key, indent + "  ")
        case list():
            yield f"{indent}{name}:"
            for number, inner in enumerate(value, 1):
                yield from _lines(inner, f"{number}", indent + "  ")
        case str() if "\n" in value or len(value) > _WIDTH:
            yield f"{indent}{name}:"
            yield from (f"{indent}  | {piece}" for piece in _wrapped(value))
        case _:
            yield f"{indent}{name}: {value}"


def _wrapped(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        words: Sequence[str] = line.split(" ")
        row = ""
        for word in words:
            if row and len(row) + len(word) >= _WIDTH:
                yield row
                row = word
            else:
                row = f"{row} {word}" if row else word
            while len(row) > 2 * _WIDTH:  # a word without end
                yield row[:_WIDTH]
                row = row[_WIDTH:]
        yield row
