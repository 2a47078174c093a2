"""Record and replay: the replies of a real model in a file, found again by the request.

A request is known by the hash of its canonical form: model, system text, tools, messages, options,
with the values of secret environment variables blotted out. A request that the file does not hold
is drift: an error that shows what changed since the recording.
"""

import difflib
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from loom_nb.border import parse_object
from loom_nb.errors import BorderError, LoomUsageError, ReplayDrift
from loom_nb.events import CallDelta, Delta, TextDelta, ThinkingDelta
from loom_nb.protocols import LanguageModel, Reply, Request

Mode = Literal["auto", "record", "replay", "strict"]
"""auto: replay what is recorded, ask the model for the rest and record it. record: always ask.
replay: never ask. strict: never ask, and the requests must come in the order of the recording."""

VERSION = 1
_MAX_DIFF_LINES = 40


class Interaction(msgspec.Struct, frozen=True):
    """One recorded model call."""

    key: str
    request: dict[str, Any]
    deltas: list[TextDelta | ThinkingDelta | CallDelta]
    reply: Reply


class Cassette:
    """The file: interactions in the order of their recording."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.interactions: list[Interaction] = []
        if path.exists():
            self.interactions = _read(path)

    def find(self, key: str) -> list[Interaction]:
        """All recordings of a request, in order."""
        return [interaction for interaction in self.interactions if interaction.key == key]

    def add(self, interaction: Interaction) -> None:
        """Record one more, on disk at once."""
        self.interactions.append(interaction)
        document = {"loom_cassette": VERSION, "interactions": self.interactions}
        text = msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(self.path.name + ".part")
        temporary.write_bytes(text + b"\n")
        temporary.replace(self.path)


class CassetteModel:
    """A LanguageModel that stands before another and plays what is recorded of it.

    Args:
        path: the file.
        name: of the model that is recorded.
        open_model: opens that model; called only when it has to be asked.
        mode: see `Mode`.
        environment: where secret values are looked for.
    """

    def __init__(
        self,
        path: str | Path,
        name: str,
        open_model: Callable[[], LanguageModel],
        *,
        mode: Mode = "auto",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if mode not in get_args(Mode):
            raise LoomUsageError(f"a cassette has no mode '{mode}'", fixes=["auto, record, replay or strict"])
        self.name = name
        self.mode = mode
        self._cassette = Cassette(Path(path))
        self._open_model = open_model
        self._model: LanguageModel | None = None
        self._environment = os.environ if environment is None else environment
        self._asked: dict[str, int] = {}
        self._place = 0

    async def reply(self, request: Request, emit: Callable[[Delta], None]) -> Reply:
        """The recorded reply, or the model's own where the mode allows to ask it."""
        canonical = self._canonical(request)
        key = hashlib.sha256(msgspec.json.encode(canonical, order="deterministic")).hexdigest()
        recorded = None if self.mode == "record" else self._recorded(key)
        if recorded is not None:
            for delta in recorded.deltas:
                emit(delta)
            return recorded.reply
        if self.mode in ("replay", "strict"):
            raise self._drift(canonical)
        return await self._record(request, key, canonical, emit)

    def _recorded(self, key: str) -> Interaction | None:
        if self.mode == "strict":
            here = self._cassette.interactions[self._place : self._place + 1]
            if not here or here[0].key != key:
                return None
            self._place += 1
            return here[0]
        found = self._cassette.find(key)
        turn = self._asked.get(key, 0)
        if not found or (self.mode == "auto" and turn >= len(found)):
            return None
        self._asked[key] = turn + 1
        self._place = self._cassette.interactions.index(found[min(turn, len(found) - 1)]) + 1
        return found[min(turn, len(found) - 1)]

    async def _record(
        self, request: Request, key: str, canonical: dict[str, Any], emit: Callable[[Delta], None]
    ) -> Reply:
        self._model = self._model or self._open_model()
        deltas: list[Delta] = []

        def note(delta: Delta) -> None:
            deltas.append(delta)
            emit(delta)

        reply = await self._model.reply(request, note)
        self._asked[key] = self._asked.get(key, 0) + 1
        hidden = self._blot(msgspec.json.encode({"deltas": deltas, "reply": reply}).decode())
        played = msgspec.json.decode(hidden, type=_Played)
        self._cassette.add(Interaction(key, canonical, played.deltas, played.reply))
        return reply

    def _canonical(self, request: Request) -> dict[str, Any]:
        """The request as plain data, the same in every process."""
        plain = msgspec.to_builtins(
            {
                "model": self.name,
                "system": request.system,
                "tools": [
                    {"name": tool.name, "description": tool.description, "parameters": tool.schema}
                    for tool in request.tools
                ],
                "messages": request.conversation.messages,
                "generation": request.generation,
                "output": None if request.output is None else dict(request.output.schema),
            }
        )
        decoded: dict[str, Any] = msgspec.json.decode(self._blot(msgspec.json.encode(plain).decode()))
        return decoded

    def _blot(self, text: str) -> str:
        """The text without the values of environment variables that are named like secrets."""
        for name, value in self._environment.items():
            if len(value) >= 8 and any(
                mark in name.upper() for mark in ("KEY", "TOKEN", "SECRET", "PASSWORD")
            ):
                text = text.replace(msgspec.json.encode(value).decode()[1:-1], f"[secret {name}]")
        return text

    def _drift(self, canonical: dict[str, Any]) -> ReplayDrift:
        """What differs from the recording that stands where this request was expected."""
        interactions = self._cassette.interactions
        if not interactions:
            cause = f"{self._cassette.path.name} holds no recording"
        elif self._place >= len(interactions):
            cause = f"all {len(interactions)} recorded requests were played, this is one more"
        else:
            cause = "\n" + _difference(interactions[self._place].request, canonical)
        return ReplayDrift(
            f"request {self._place + 1} is not in the recording {self._cassette.path.name}",
            cause=cause,
            fixes=['Model.cassette(path, model, mode="record") records anew'],
        )

    def encode(self, request: Request) -> bytes:
        """What the recorded model would send."""
        self._model = self._model or self._open_model()
        return self._model.encode(request)

    async def close(self) -> None:
        """Close the recorded model, where it was opened."""
        if self._model is not None:
            await self._model.close()


class _Played(msgspec.Struct):
    deltas: list[TextDelta | ThinkingDelta | CallDelta]
    reply: Reply


class _Document(msgspec.Struct):
    loom_cassette: int
    interactions: list[Interaction]


def _read(path: Path) -> list[Interaction]:
    try:
        document = msgspec.convert(
            parse_object(path.read_bytes(), what=path.name, max_bytes=1 << 30), _Document
        )
    except (BorderError, msgspec.ValidationError) as error:
        raise LoomUsageError(
            f"{path.name} is not a cassette",
            cause=str(error).splitlines()[0],
            fixes=["remove it and record anew"],
        ) from None
    if document.loom_cassette != VERSION:
        raise LoomUsageError(f"{path.name} has version {document.loom_cassette}, this is version {VERSION}")
    return document.interactions


def _difference(recorded: dict[str, Any], now: dict[str, Any]) -> str:
    """A unified diff of two requests, short enough to read."""
    lines = list(difflib.unified_diff(_lines(recorded), _lines(now), "recorded", "now", lineterm="", n=2))
    more = len(lines) - _MAX_DIFF_LINES
    return "\n".join(lines[:_MAX_DIFF_LINES] + ([f"… {more} more lines"] if more > 0 else []))


def _lines(request: dict[str, Any]) -> list[str]:
    return msgspec.json.format(msgspec.json.encode(request, order="sorted"), indent=1).decode().splitlines()
