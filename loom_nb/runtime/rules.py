"""Ready rules: allow, ask or deny calls by name, argument, effect, rate, time, cost, path, host and origin.

    GovernancePolicy((Deny("http_*"), Veto(paths=["~/.ssh/*"]), PerMinute("search", 10), WhenUntrusted()))

A glob matches the name of a tool, upper and lower case told apart; a predicate is given the arguments.
"""

import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, tzinfo
from glob import escape
from itertools import islice
from typing import Any, Literal, TypeAlias

from loom_nb.checks import a, check, function, number, one_of, path_of, some_of, text, texts, whole
from loom_nb.errors import LoomUsageError
from loom_nb.protocols import Call, Layer, Taint, Verdict
from loom_nb.runtime.origins import NOT_LOOKED
from loom_nb.runtime.reach import covers, first_covered, host_in, real_path, touched_hosts, touched_paths
from loom_nb.settings import money

Predicate: TypeAlias = Callable[[Mapping[str, Any]], bool]
Per: TypeAlias = Literal["session", "agent"]

_GLOB = text(filled=True, such_as='"web_*"')
_PER = one_of("agent", "session")
_FOR_WORSE = one_of("deny", "ask")
_CLOCK = a(time, "a time of the day", such_as="time(9, 30)")
_OF_A_TOOL = {
    "glob": _GLOB,
    "reason": text(),
    "when": function("the arguments", optional=True, such_as='lambda given: given["force"]'),
}
_PER_MINUTE = {"glob": _GLOB, "limit": whole(0, such_as="10"), "per": _PER}
_BETWEEN = {
    "start": _CLOCK,
    "end": _CLOCK,
    "glob": _GLOB,
    "zone": a(tzinfo, "a time zone", optional=True, such_as='ZoneInfo("Europe/Berlin")'),
}
_MAX_COST = {"dollars": number(0, unit="US dollars: a number", such_as="0.50"), "glob": _GLOB}
_INSIDE_ROOT = {"root": path_of(such_as='"data"'), "glob": _GLOB}


@dataclass(frozen=True, slots=True)
class _Named:
    """Says the same of every call of a tool whose name matches, or of those whose arguments fit."""

    glob: str
    reason: str = ""
    when: Predicate | None = None
    name: str = ""
    layer: Layer = "permission"
    decision: Literal["allow", "ask", "deny"] = "deny"

    def __post_init__(self) -> None:
        check(self, _OF_A_TOOL)

    def judge(self, call: Call) -> Verdict | None:
        """Speak of a call that matches."""
        if not fnmatch.fnmatchcase(call.name, self.glob) or not (
            self.when is None or self.when(call.arguments)
        ):
            return None
        return Verdict(self.decision, self.reason or f"{self.glob} {_FATE[self.decision]}", self.name)

    def __str__(self) -> str:
        some = " for some arguments" if self.when else ""
        return f"{self.glob} {_FATE[self.decision]}{some}" + (f": {self.reason}" if self.reason else "")


_FATE = {"allow": "is allowed", "ask": "is asked about", "deny": "is denied by a rule"}


@dataclass(frozen=True, slots=True)
class Allow(_Named):
    """Lets matching calls run that would only ask for approval."""

    name: str = "allow"
    decision: Literal["allow"] = "allow"


@dataclass(frozen=True, slots=True)
class Ask(_Named):
    """Has a person asked about matching calls, whatever the mode."""

    name: str = "ask"
    decision: Literal["ask"] = "ask"


@dataclass(frozen=True, slots=True)
class Deny(_Named):
    """Denies matching calls."""

    name: str = "deny"
    decision: Literal["deny"] = "deny"


@dataclass(frozen=True, slots=True)
class Veto:
    """Denies what no mode, no other rule and no person can allow; child runs inherit it.

    Args:
        glob: names of tools.
        paths: globs of files that may not be touched, such as `~/.ssh/*`; a relative one is meant in
            `root`. A folder stands for all in it. Every spelling of a path counts, wherever in the
            arguments it stands: relative ones, links, `..`, `~`, file addresses, other normal forms of
            Unicode, and upper and lower case where the file system does not tell them apart.
        hosts: globs of hosts that may not be talked to; each spelling of a number counts.
        when: a predicate on the arguments.
        reason: what the model is told.
        root: the folder that relative paths, in `paths` and in the arguments, are relative to; the
            working directory where it is empty.

    Raises:
        LoomUsageError: a glob is no text, or empty.
    """

    glob: str = "*"
    paths: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    when: Predicate | None = None
    reason: str = "vetoed"
    root: str = ""
    name: str = "veto"
    layer: Layer = "veto"
    decision: Literal["deny"] = "deny"

    def __post_init__(self) -> None:
        check(self, _OF_A_TOOL)
        object.__setattr__(self, "paths", _globs("paths", self.paths))
        object.__setattr__(self, "hosts", _globs("hosts", self.hosts))
        object.__setattr__(self, "root", os.fspath(self.root))

    def judge(self, call: Call) -> Verdict | None:
        """Deny what matches the name and, where they are given, a path, a host or the predicate."""
        if not fnmatch.fnmatchcase(call.name, self.glob):
            return None
        if not (self.paths or self.hosts or self.when):
            return Verdict("deny", self.reason, self.name)
        if self.when is not None and self.when(call.arguments):
            return Verdict("deny", self.reason, self.name)
        paths = touched_paths(call, self.root, lines=True) if self.paths else ()
        touched = first_covered(self.paths, paths, self.root)
        if touched is not None:
            return Verdict("deny", f"{self.reason}: {touched}", self.name)
        hosts = touched_hosts(call) if self.hosts else ()
        host = next((host for host in hosts if host_in(self.hosts, host)), None)
        if host is not None:
            return Verdict("deny", f"{self.reason}: {host}", self.name)
        return None

    def __str__(self) -> str:
        what = ", ".join((*self.paths, *self.hosts)) or ("some arguments" if self.when else "every call")
        return f"{self.glob}: {what} is vetoed"


def _globs(name: str, given: object) -> tuple[str, ...]:
    """One glob or several, as texts."""
    several = (given,) if isinstance(given, (str, os.PathLike)) else given
    globs = tuple(
        os.fspath(one) if isinstance(one, os.PathLike) else one
        for one in (several if isinstance(several, Iterable) else (several,))
    )
    texts = tuple(one for one in globs if isinstance(one, str) and one.strip())
    if len(texts) == len(globs):
        return texts
    raise LoomUsageError(
        f"Veto({name}={given!r:.80}): a glob is a text of at least one character",
        fixes=[f'Veto({name}=("secrets/*",))'],
    )


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """Denies every call that does not just look."""

    name: str = "read-only"
    layer: Layer = "effect"
    decision: Literal["deny"] = "deny"

    def judge(self, call: Call) -> Verdict | None:
        """Deny what can change anything."""
        if call.read_only:
            return None
        effects = ", ".join(sorted(call.effects))
        return Verdict(
            "deny", f"{call.name} can change things ({effects}) and this run is read-only", self.name
        )

    def __str__(self) -> str:
        return "calls that do not just look are denied"


@dataclass(frozen=True, slots=True)
class Destructive:
    """Asks about what cannot be taken back, or denies it."""

    decision: Literal["ask", "deny"] = "ask"
    name: str = "destructive"
    layer: Layer = "effect"

    def __post_init__(self) -> None:
        check(self, {"decision": _FOR_WORSE})

    def judge(self, call: Call) -> Verdict | None:
        """Speak of what is destructive."""
        return Verdict(self.decision, "it cannot be taken back", self.name) if call.destructive else None

    def __str__(self) -> str:
        return f"what cannot be taken back is {'asked about' if self.decision == 'ask' else 'denied'}"


@dataclass(frozen=True, slots=True)
class PerMinute:
    """At most so many calls a minute; failures count, and so do those of earlier runs."""

    glob: str
    limit: int
    per: Per = "session"
    name: str = "rate limit"
    layer: Layer = "rate"
    decision: Literal["deny"] = "deny"

    def __post_init__(self) -> None:
        check(self, _PER_MINUTE)

    def judge(self, call: Call) -> Verdict | None:
        """Deny a call above the limit."""
        if not fnmatch.fnmatchcase(call.name, self.glob):
            return None
        made = call.scene.tallies[self.per].count(self.glob, call.scene.now - 60.0)
        if made < self.limit:
            return None
        return Verdict(
            "deny",
            f"{self.glob} was called {made} times in the last minute, {self.limit} is the limit",
            self.name,
        )

    def __str__(self) -> str:
        return f"{self.glob} above {self.limit} calls a minute and {self.per} is denied"


@dataclass(frozen=True, slots=True)
class Once:
    """At most one call, ever, in a session or of an agent."""

    glob: str
    per: Per = "session"
    name: str = "once"
    layer: Layer = "rate"
    decision: Literal["deny"] = "deny"

    def __post_init__(self) -> None:
        check(self, {"glob": _GLOB, "per": _PER})

    def judge(self, call: Call) -> Verdict | None:
        """Deny the second call."""
        if not fnmatch.fnmatchcase(call.name, self.glob) or not call.scene.tallies[self.per].count(self.glob):
            return None
        return Verdict("deny", f"{self.glob} may be called once, and was", self.name)

    def __str__(self) -> str:
        return f"{self.glob} after the first call of a {self.per} is denied"


@dataclass(frozen=True, slots=True)
class Between:
    """Denies matching calls outside of a window of the day, which may span midnight."""

    start: time
    end: time
    glob: str = "*"
    zone: tzinfo | None = None
    """The zone of the computer where it is None."""
    name: str = "between"
    layer: Layer = "rate"
    decision: Literal["deny"] = "deny"

    def __post_init__(self) -> None:
        check(self, _BETWEEN)

    def judge(self, call: Call) -> Verdict | None:
        """Deny a call at another time."""
        if not fnmatch.fnmatchcase(call.name, self.glob):
            return None
        now = datetime.fromtimestamp(call.scene.now, self.zone).time()
        inside = self.start <= now < self.end
        if self.start > self.end:
            inside = now >= self.start or now < self.end
        if inside:
            return None
        return Verdict(
            "deny", f"{self.glob} is allowed from {self.start:%H:%M} to {self.end:%H:%M} only", self.name
        )

    def __str__(self) -> str:
        return f"{self.glob} outside of {self.start:%H:%M} to {self.end:%H:%M} is denied"


@dataclass(frozen=True, slots=True)
class MaxCost:
    """Denies matching calls once the run has cost so many US dollars, or its cost is not known."""

    dollars: float
    glob: str = "*"
    name: str = "cost"
    layer: Layer = "rate"
    decision: Literal["deny"] = "deny"

    def __post_init__(self) -> None:
        check(self, _MAX_COST)

    def judge(self, call: Call) -> Verdict | None:
        """Deny a call above the limit."""
        if not fnmatch.fnmatchcase(call.name, self.glob):
            return None
        cost = call.scene.cost
        if cost is None:
            return Verdict(
                "deny", "the price of the model is not known, so the limit cannot be held", self.name
            )
        if cost < self.dollars:
            return None
        return Verdict(
            "deny", f"the run has cost {money(cost)}, {money(self.dollars)} is the limit", self.name
        )

    def __str__(self) -> str:
        return f"{self.glob} is denied once a run has cost {money(self.dollars)}"


@dataclass(frozen=True, slots=True)
class InsideRoot:
    """Denies matching calls that touch a path outside of a folder."""

    root: str
    glob: str = "*"
    name: str = "inside root"
    layer: Layer = "permission"
    decision: Literal["deny"] = "deny"

    def __post_init__(self) -> None:
        check(self, _INSIDE_ROOT)

    def judge(self, call: Call) -> Verdict | None:
        """Deny a path outside."""
        if not fnmatch.fnmatchcase(call.name, self.glob):
            return None
        root = real_path(self.root)
        for path in touched_paths(call, root):
            if not covers((escape(root),), path):
                return Verdict("deny", f"{path} is outside of {root}", self.name)
        return None

    def __str__(self) -> str:
        return f"{self.glob}: paths outside of {self.root} are denied"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Denies matching calls that talk to a host which is not on the list."""

    allowed: tuple[str, ...]
    glob: str = "*"
    name: str = "hosts"
    layer: Layer = "permission"
    decision: Literal["deny"] = "deny"

    def __post_init__(self) -> None:
        as_given: object = self.allowed
        if isinstance(as_given, str):
            raise LoomUsageError("Hosts takes a list of hosts", fixes=[f"Hosts(({as_given!r},))"])
        check(self, {"allowed": texts(such_as='("*.example.org",)'), "glob": _GLOB})

    def judge(self, call: Call) -> Verdict | None:
        """Deny any other host, and a network call that does not tell its hosts."""
        if not fnmatch.fnmatchcase(call.name, self.glob) or "network" not in call.effects:
            return None
        hosts = tuple(touched_hosts(call))
        if not hosts:
            return Verdict("deny", f"{call.name} does not tell which host it talks to", self.name)
        other = next((host for host in hosts if not host_in(self.allowed, host)), None)
        if other is None:
            return None
        return Verdict("deny", f"{other} is not on the list of hosts ({', '.join(self.allowed)})", self.name)

    def __str__(self) -> str:
        return f"{self.glob}: hosts other than {', '.join(self.allowed) or 'none'} are denied"


UNTRUSTED = frozenset(
    {"web", "file", "tool", "mcp", "model", "memory", "knowledge", "skill", "signal", "notebook"}
)
"""Kinds of origin whose text may be an attempt to steer the agent."""
_WHEN_UNTRUSTED = {
    "kinds": some_of(*sorted(UNTRUSTED), such_as='{"web", "file"}'),
    "decision": _FOR_WORSE,
    "glob": _GLOB,
    "spares": texts(alone=True, such_as='("http_get",)'),
}

OWN_RESULTS = "results of tools and variables only"
"""How WhenUntrusted signs where nothing but those is in play: a leave for a tool covers that."""

MAX_TOLD = 8
"""Arguments whose origin is told one by one."""

_WHENCE = {
    "web": "a web page",
    "file": "a file",
    "tool": "the result of a tool",
    "mcp": "an MCP server",
    "model": "the model itself",
    "memory": "a note",
    "knowledge": "a document",
    "skill": "a skill",
    "signal": "a signal",
    "notebook": "a variable",
}


@dataclass(frozen=True, slots=True)
class WhenUntrusted:
    """Asks about what can write or send, once text that the user did not write is in play.

    Structure rather than detection: whatever the text says, it cannot have an effect by itself. A call
    that only fetches is let go where the user, or the only kind of source there is, wrote its address
    word for word: it tells the other side nothing that it does not know.
    """

    kinds: frozenset[str] = UNTRUSTED
    decision: Literal["ask", "deny"] = "ask"
    glob: str = "*"
    spares: tuple[str, ...] = ()
    """Globs of tools that the user lets run whatever is in play."""
    name: str = "untrusted"
    layer: Layer = "origin"

    def __post_init__(self) -> None:
        check(self, _WHEN_UNTRUSTED)

    def judge(self, call: Call) -> Verdict | None:
        """Speak of a call that can act while untrusted text is in its arguments or in the context."""
        if not fnmatch.fnmatchcase(call.name, self.glob):
            return None
        if any(fnmatch.fnmatchcase(call.name, glob) for glob in self.spares):
            return None
        acts = bool(call.effects - {"reads"}) or call.destructive
        if not acts:
            return None
        taint = call.scene.trace(call.written or call.arguments)
        found = {
            where: origin
            for where, origin in taint.arguments.items()
            if origin.kind in self.kinds and origin.kind != "model"
        }
        around = sorted(taint.context & self.kinds & _WHENCE.keys())
        if not found and not around:
            return None
        if call.read_only and _only_follows(call, taint):
            return None
        told = [
            f"{where} came from {whence(origin.kind, origin.source)}".replace(";", ",")
            for where, origin in islice(found.items(), MAX_TOLD)
        ] or [f"text from {' and '.join(_WHENCE[kind] for kind in around)} is in the context"]
        if len(found) > MAX_TOLD:
            told.append(f"{len(found) - MAX_TOLD} more arguments came from elsewhere")
        kinds = {origin.kind for origin in found.values()}.union(around)
        by = self.name if kinds - {"tool", "notebook"} else f"{self.name}: {OWN_RESULTS}"
        return Verdict(self.decision, "; ".join(told), by)

    def __str__(self) -> str:
        fate = "asked about" if self.decision == "ask" else "denied"
        return f"what can write or send is {fate} while text that you did not write is in play"


def _only_follows(call: Call, taint: Taint) -> bool:
    """Whether all that a request says is one address which somebody wrote word for word.

    Two pieces from two sources may be a secret and where to send it.
    """
    said = [value for value in call.arguments.values() if not _says_nothing(value)]
    if len(said) != 1 or not isinstance(said[0], str):
        return False
    name = next(name for name, value in call.arguments.items() if value is said[0])
    origin = taint.arguments.get(name)
    if origin is None or origin.kind == "model" or origin == NOT_LOOKED:
        return False
    return origin.trusted or taint.context <= {origin.kind}  # else links could spell out what another said


def _says_nothing(value: Any) -> bool:
    """Options of a request that carry next to nothing."""
    if isinstance(value, (int, float)):
        return abs(value) < 10_000
    return not value or value in ("GET", "HEAD", "OPTIONS")


def whence(kind: str, source: str = "") -> str:
    """An origin in words: "a web page (https://…)"."""
    words = _WHENCE.get(kind, f"the {kind}")
    return f"{words} ({source})" if source else words
