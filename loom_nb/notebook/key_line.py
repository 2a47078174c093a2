"""What a `%loom key` line says, as values: names, flags, when a secret may be used and where it may go.

Pure but for `here_and_now`: words, the time and the zone go in. Nothing of a line is repeated in a message
that might be the value of a secret: what stands where no word is expected was probably meant to be one.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from loom_nb.credentials.policies import DAYS, Binding, CredentialPolicy, Day, PolicyMode, Window
from loom_nb.errors import LoomUsageError
from loom_nb.notebook import cell as cells

Takes = Literal["one", "many", "none"]
BINDING: Mapping[str, Takes] = {
    "--host": "many", "--method": "many", "--path": "many", "--plain": "none", "--apply": "one",
    "--user": "one", "--host-key": "many", "--known-hosts": "none",
}  # fmt: skip
"""Flags that say where a secret may go."""
GRANT: Mapping[str, Takes] = {
    "--here": "none", "--tool": "many", "--agent": "many", "--model": "many", "--notebook": "many",
}  # fmt: skip
"""Flags that say who may use one."""
SOURCE: Mapping[str, Takes] = {
    "--from-env": "many", "--from-dotenv": "many", "--from-file": "many", "--field": "many",
}  # fmt: skip
"""Flags that say where its value comes from, where it is not typed in."""
FLAGS: Mapping[str, Mapping[str, Takes]] = MappingProxyType(
    {
        "": {},
        "set": {
            "--type": "one", **BINDING, "--policy": "one", "--grant": "many", **GRANT, **SOURCE,
            "--note": "one",
        },
        "rotate": {**SOURCE},
        "show": {},
        "rm": {"--yes": "none"},
        "grant": {**GRANT, "--grant": "many", "--revoke": "none", "--any": "many"},
        "policy": {},
        "bind": {**BINDING, "--any": "many"},
        "log": {"--refused": "none"},
        "lock": {},
        "unlock": {"--passphrase": "none"},
        "rekey": {},
        "scan": {},
    }
)  # fmt: skip
"""The flags of each word behind `%loom key`."""
KINDS = ("notebook", "tool", "model", "agent")
"""Of a grant."""
NOBODY = "(none)"
"""Stands in a grant where nobody of a kind may use a secret any more: `notebook:(none)`."""
MODES: Mapping[str, PolicyMode] = MappingProxyType(
    {
        "autonomous": "autonomous",
        "notify_before": "notify_before",
        "notify_after": "notify_after",
        "time_boxed": "time_boxed",
        "one_shot": "one_shot",
    }
)
_SCOPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@/-]{0,99}")
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class KeyLine:
    """The words behind one `%loom key …`."""

    verb: str
    names: tuple[str, ...] = ()
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What each flag was given; () for one that takes nothing."""

    def one(self, flag: str) -> str:
        """What a flag was given last; empty where it was not."""
        return self.flags.get(flag, ("",))[-1]

    @property
    def name(self) -> str:
        """The one secret that it is about.

        Raises:
            LoomUsageError: it names none, or more than one word stands there.
        """
        if not self.names:
            raise LoomUsageError(
                f"%loom key {self.verb}: which?", fixes=[f"%loom key {self.verb} NAME", "%loom key"]
            )
        if len(self.names) > 1:
            raise refuse_value(self.verb)
        return checked_name(self.names[0], self.verb)


def read(verb: str, words: Sequence[str]) -> KeyLine:
    """The words behind a verb. Flags may stand in any order, as `--flag value` or `--flag=value`.

    Raises:
        LoomUsageError: there is no such flag, or one lacks its value. Only the flag is repeated.
    """
    known = FLAGS[verb]
    names: list[str] = []
    flags: dict[str, tuple[str, ...]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            names.append(word)
            continue
        flag, equals, value = word.partition("=")
        takes = known.get(flag)
        if takes is None:
            raise _no_flag(verb, flag, known)
        if takes == "none":
            if equals:
                raise LoomUsageError(f"%loom key {verb} {flag} takes no value")
            flags[flag] = ()
            continue
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise LoomUsageError(f"%loom key {verb} {flag}: what?", fixes=_examples(flag))
            value = rest.pop(0)
        if flag == "--policy" and value == "time_boxed" and rest and ".." in rest[0]:
            value = f"time_boxed:{rest.pop(0)}"
        flags[flag] = (*flags.get(flag, ()), value) if takes == "many" else (value,)
    return KeyLine(verb, tuple(names), MappingProxyType(flags))


def checked_name(name: str, verb: str) -> str:
    """A name as a secret may have it here. Raises LoomUsageError for what looks like a value."""
    if _SCOPE.fullmatch(name) and not looks_like_a_value(name):
        return name
    raise (
        refuse_value(verb)
        if looks_like_a_value(name) or len(name) > 40
        else LoomUsageError(
            f"%loom key {verb}: a name is letters, digits and . _ - / @, such as github.read",
        )
    )


def refuse_value(verb: str) -> LoomUsageError:
    """For words that stand where no word is expected: most often the secret itself."""
    return LoomUsageError(
        f"%loom key {verb} takes one name, and never a value",
        cause="what stands in a cell is saved with the notebook and in the history of this kernel: if it was "
        "the secret, take it out of the cell and have a new one made where it comes from",
        fixes=[f"%loom key {verb} NAME   (asks for it, hidden)", f"%loom key {verb} NAME --from-env VARIABLE"]
        if verb in ("set", "rotate")
        else [f"%loom key {verb} NAME"],
    )


def looks_like_a_value(name: str) -> bool:
    """Whether a word that should be a name is rather a secret."""
    from loom_nb.redaction.key_forms import key_forms

    return bool(key_forms(name)) or (len(name) >= 24 and bool(re.search(r"\d", name)) and "." not in name)


def _no_flag(verb: str, flag: str, known: Mapping[str, Takes]) -> LoomUsageError:
    if not re.fullmatch(r"--?[a-z-]{1,20}", flag):
        return refuse_value(verb)
    near = cells.near(flag, known)
    elsewhere = [one for one, flags in FLAGS.items() if flag in flags and one]
    fixes = [f"%loom key {verb} NAME {one}" for one in near]
    fixes += [f"%loom key {elsewhere[0]} NAME {flag}"] if elsewhere else []
    told = f"flags: {', '.join(known)}" if known else "it takes no flags"
    return LoomUsageError(f"%loom key {verb} has no {flag}", cause=told, fixes=fixes)


def _examples(flag: str) -> list[str]:
    return {
        "--type": ["--type basic_auth"],
        "--host": ["--host api.github.com"],
        "--method": ["--method GET"],
        "--path": ["--path /repos/"],
        "--policy": ["--policy notify_before", "--policy one_shot:3", "--policy time_boxed:now..+2h"],
        "--apply": ["--apply header:X-API-Key", "--apply query:key"],
        "--user": ["--user deploy"],
        "--host-key": ["--host-key SHA256:…   (as ssh-keygen -lf prints it)"],
        "--grant": ["--grant tool:http_request"],
        "--from-env": ["--from-env GITHUB_TOKEN", "--from-env client_secret=MY_SECRET"],
        "--from-dotenv": ["--from-dotenv .env:GITHUB_TOKEN"],
        "--from-file": ["--from-file ~/.ssh/id_ed25519"],
        "--field": ["--field username=ada"],
        "--any": [f"--any {kind}" for kind in KINDS],
    }.get(flag, [f"{flag} NAME"])


# -- where it may go ---------------------------------------------------------------------------------------


def binding_of(line: KeyLine, before: Binding) -> Binding:
    """The binding that a line asks for: what it names takes the place of what there was.

    Raises:
        LoomUsageError: a host, method or path is none.
    """
    hosts = tuple(dict.fromkeys(_host(one) for one in line.flags.get("--host", ()))) or before.hosts
    methods = tuple(one.upper() for one in line.flags.get("--method", ())) or before.methods
    paths = line.flags.get("--path", ()) or before.paths
    for kind in line.flags.get("--any", ()):
        if kind not in ("host", "method", "path"):
            raise LoomUsageError(
                "%loom key bind --any takes method, path or host",
                cause="--any host: it goes nowhere any more, as a secret without a host may not",
                fixes=["--any method", "--any path"],
            )
        hosts = () if kind == "host" else hosts
        methods = () if kind == "method" else methods
        paths = () if kind == "path" else paths
    return Binding(
        hosts=hosts,
        methods=methods,
        paths=paths,
        plain="--plain" in line.flags or before.plain,
        apply=line.one("--apply") or before.apply,
        user=line.one("--user") or before.user,
        host_keys=line.flags.get("--host-key", ()) or before.host_keys,
        known_hosts="--known-hosts" in line.flags or before.known_hosts,
    )


def _host(text: str) -> str:
    """A host as it is bound; of an address its host and port."""
    if "://" not in text:
        return text.lower().rstrip("/")
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise LoomUsageError("--host takes the name of a host", fixes=["--host api.github.com"]) from None
    host = parts.hostname or ""
    return (f"[{host}]" if ":" in host else host) + port


# -- who may use it ----------------------------------------------------------------------------------------


def grants_of(line: KeyLine, notebook: str) -> tuple[str, ...]:
    """The grants that the flags of a line name.

    Args:
        line: with `--here`, `--tool`, `--agent`, `--model`, `--notebook` and `--grant kind:name`.
        notebook: what the kernel calls this one; empty where the front end does not tell.

    Raises:
        LoomUsageError: `--here` in a notebook without a name, or a grant that is none.
    """
    named = [f"{kind}:{one}" for kind in KINDS for one in line.flags.get(f"--{kind}", ())]
    for text in line.flags.get("--grant", ()):
        kind, _, name = text.partition(":")
        if kind not in KINDS or not name:
            raise LoomUsageError(
                "a grant is notebook:, tool:, model: or agent: and a name",
                fixes=["--grant tool:http_request", "--grant model:anthropic"],
            )
        named.append(text)
    if "--here" in line.flags:
        if not notebook:
            raise LoomUsageError(
                "--here: this front end does not tell the kernel which notebook it is",
                fixes=["--tool http_request", "--agent NAME"],
            )
        named.insert(0, f"notebook:{notebook}")
    return tuple(dict.fromkeys(named))


def gone_notebooks(grants: Sequence[str], here: str) -> tuple[str, ...]:
    """The grants of notebooks whose file is not there any more; of those that are told by a whole path.

    Args:
        grants: of a secret.
        here: this notebook, which may have been given another name since its kernel began.
    """
    named = [(one, one.partition(":")[2]) for one in grants if one.startswith("notebook:")]
    return tuple(
        one
        for one, path in named
        if path not in (here, NOBODY) and Path(path).is_absolute() and not Path(path).exists()
    )


def granted(before: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """The grants with some more. Of a kind that had none, only these may use it from now on."""
    kinds = {one.partition(":")[0] for one in more}
    kept = [one for one in before if one.partition(":")[0] not in kinds or not one.endswith(f":{NOBODY}")]
    return tuple(dict.fromkeys((*kept, *more)))


def revoked(before: Sequence[str], less: Sequence[str]) -> tuple[str, ...]:
    """The grants without some. Where the last of a kind goes, nobody of that kind may use it any more."""
    left = [one for one in before if one not in less]
    for kind in KINDS:
        had = any(one.startswith(f"{kind}:") for one in before)
        if had and not any(one.startswith(f"{kind}:") for one in left):
            left.append(f"{kind}:{NOBODY}")
    return tuple(left)


def opened(before: Sequence[str], kinds: Sequence[str]) -> tuple[str, ...]:
    """The grants without those of some kinds: any of that kind may use it.

    Raises:
        LoomUsageError: there is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise LoomUsageError(
                "%loom key grant --any takes notebook, tool, model or agent",
                fixes=[f"--any {one}" for one in cells.near(kind, KINDS) or KINDS[:2]],
            )
    return tuple(one for one in before if one.partition(":")[0] not in kinds)


# -- when it may be used -----------------------------------------------------------------------------------


def policy_of(text: str, now: datetime) -> CredentialPolicy:
    """A policy as a person writes it: `autonomous`, `one_shot:3`, `time_boxed:now..+2h`.

    Args:
        text: the mode, and what belongs to it behind a colon.
        now: the time, in the zone in which moments without a zone are meant.

    Raises:
        LoomUsageError: it is none.
    """
    word, more = [*re.split(r"[:\s]\s*", text.strip(), maxsplit=1), ""][:2]
    mode = MODES.get(word.replace("-", "_").lower())
    if mode is None:
        near = cells.near(word, MODES)
        raise LoomUsageError(
            "there is no such policy", cause=f"policies: {', '.join(MODES)}", fixes=near or ["notify_before"]
        )
    if mode == "one_shot":
        return CredentialPolicy(mode=mode, uses=_uses(more))
    if mode == "time_boxed":
        if hours := _HOURS.fullmatch(more):
            return CredentialPolicy(mode=mode, windows=(_daily(hours, now),))
        start, end = window(more, now)
        return CredentialPolicy(mode=mode, start=start, end=end)
    if more:
        raise LoomUsageError(f"{mode} takes nothing more", fixes=[mode])
    return CredentialPolicy(mode=mode)


_HOURS = re.compile(
    r"(?:(?P<days>[a-z]{3}(?:[,-][a-z]{3})*)\s+)?(?P<from>\d\d:\d\d)-(?P<to>\d\d:\d\d)(?:\s+(?P<zone>[\w/+-]+))?"
)


def _daily(hours: "re.Match[str]", now: datetime) -> Window:
    """`mon-fri 09:00-17:00 Europe/Stockholm`; without a zone that of the time."""
    days: list[Day] = []
    numbers = {str(one): number for number, one in enumerate(DAYS)}
    for part in filter(None, (hours["days"] or "").split(",")):
        first, _, last = part.partition("-")
        begin, end = numbers.get(first), numbers.get(last or first)
        if begin is None or end is None:
            raise LoomUsageError(f"days are {', '.join(DAYS)}", fixes=["mon-fri 09:00-17:00"])
        days += DAYS[begin : end + 1] if begin <= end else (*DAYS[begin:], *DAYS[: end + 1])
    zone = hours["zone"] or getattr(now.tzinfo, "key", "")
    if not zone:
        raise LoomUsageError(
            "in which zone are these hours?",
            fixes=[f"time_boxed:{hours[0]} {one}" for one in ("Europe/Stockholm", "UTC")],
        )
    made = Window(days=tuple(days), from_=hours["from"], to=hours["to"], zone=zone)
    made.holds(now.timestamp())  # a zone that this machine does not know is said now
    return made


def _uses(text: str) -> int:
    if not text:
        return 1
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise LoomUsageError("one_shot: how often?", fixes=["one_shot", "one_shot:3"])
    return int(text)


def window(text: str, now: datetime) -> tuple[float | None, float | None]:
    """`FROM..TO` as seconds since 1970; either may be left out.

    A moment is `now`, `20:00` (of today; an end before its start is of tomorrow), `2026-11-21`,
    `2026-11-21T20:00`, the same with a zone (`+01:00`, `Z`), or `+2h` (m, h, d) after the start.

    Raises:
        LoomUsageError: it is no window, or ends before it starts.
    """
    first, dots, last = text.partition("..")
    if not dots or not (first or last):
        raise LoomUsageError(
            "a time box is FROM..TO",
            cause="or hours of the day: mon-fri 09:00-17:00 Europe/Stockholm",
            fixes=["time_boxed:now..+2h", "time_boxed:09:00..17:00", "time_boxed:..2026-12-01T18:00+01:00"],
        )
    start = _moment(first, now, now) if first else None
    end = _moment(last, now, start or now) if last else None
    if start is not None and end is not None and end <= start and re.fullmatch(r"\d\d?:\d\d", last):
        end += timedelta(days=1)
    opens, closes = start.timestamp() if start else None, end.timestamp() if end else None
    if opens is not None and closes is not None and closes <= opens:
        raise LoomUsageError("this time box ends before it starts")
    if closes is not None and closes <= now.timestamp():
        raise LoomUsageError("this time box is over already", fixes=["time_boxed:now..+2h"])
    return opens, closes


def _moment(text: str, now: datetime, after: datetime) -> datetime:
    if text == "now":
        return now
    if later := re.fullmatch(r"\+(\d{1,6})\s*(min|m|h|d)", text):
        unit = {"min": "minutes", "m": "minutes", "h": "hours", "d": "days"}[later[2]]
        much = timedelta(**{unit: int(later[1])})
        if unit == "days":  # to the same time of day
            return after + much
        return (after.astimezone(UTC) + much).astimezone(after.tzinfo)  # whatever the clocks do meanwhile
    try:
        if re.fullmatch(r"\d\d?:\d\d", text):
            hour, _, minute = text.partition(":")
            return _local(datetime.combine(now.date(), time(int(hour), int(minute))), now.tzinfo)
        said = datetime.fromisoformat(text)
    except ValueError:
        raise LoomUsageError(
            "this is no moment", fixes=["now", "20:00", "2026-11-21T20:00", "2026-11-21T20:00+01:00"][1:]
        ) from None
    return said if said.tzinfo is not None else _local(said, now.tzinfo)


def here_and_now() -> datetime:
    """The time in the zone of this machine, by its name where that can be told."""
    from zoneinfo import ZoneInfo

    link = Path("/etc/localtime")
    named = os.environ.get("TZ", "").lstrip(":") or (str(link.resolve()) if link.is_symlink() else "")
    try:
        return datetime.now(ZoneInfo(named.rpartition("zoneinfo/")[2]))
    except (ValueError, OSError, LookupError):
        return datetime.now().astimezone()


def _local(said: datetime, zone: tzinfo | None) -> datetime:
    """A moment without a zone, in this one; of the system's own also across a change of its clocks."""
    from datetime import timezone

    return said.astimezone() if isinstance(zone, timezone) else said.replace(tzinfo=zone)
