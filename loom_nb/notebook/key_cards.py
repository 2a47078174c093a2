"""Secrets in words: what a policy allows, where one may go, who may use it, and what became of it.

Pure functions from facts to texts and cards. No value of a secret comes here: there is none in the facts.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from loom_nb.credentials.gate import wish
from loom_nb.credentials.policies import Binding, CredentialPolicy, SecretFacts
from loom_nb.credentials.uses import AuditRow, Use
from loom_nb.errors import LoomUsageError
from loom_nb.notebook.card import Card, Table
from loom_nb.notebook.key_line import KINDS, NOBODY
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.session_cards import lately
from loom_nb.wording import counted, moment

MOST_IN_PRINT = 40
"""Rows of a log in print."""
_KINDS = {"notebook": "notebook", "tool": "tool", "model": "model", "agent": "agent"}


# -- facts in words ------------------------------------------------------------------------------------------


def policy_words(policy: CredentialPolicy, now: float) -> str:
    """When a secret may be used: "asks you before each use"."""
    match policy.mode:
        case "autonomous":
            return "used without asking"
        case "notify_before":
            return "asks before each use"
        case "notify_after":
            return "used, and you are told"
        case "one_shot":
            left = policy.uses or 0
            return f"{counted(left, 'more use')}, then never" if left else "used up: no more uses"
        case "time_boxed":
            words = _window_words(policy, now)
            hours = ", and ".join(map(str, policy.windows))
            return f"{hours}; {words}" if hours and words else hours or words or "used without asking"


def _window_words(policy: CredentialPolicy, now: float) -> str:
    if policy.end is not None and policy.end <= now:
        return f"over since {_at(policy.end)}"
    if policy.start is not None and policy.start > now:
        until = f" until {_at(policy.end)}" if policy.end is not None else " on"
        return f"not yet: from {_at(policy.start)}{until}"
    return f"until {_at(policy.end)}" if policy.end is not None else ""


def _at(seconds: float) -> str:
    """A moment with its zone: `2026-11-21 20:00 (UTC+1)`."""
    offset = datetime.fromtimestamp(seconds).astimezone().utcoffset()
    minutes = int(offset.total_seconds() // 60) if offset is not None else 0
    hours, rest = divmod(abs(minutes), 60)
    zone = f"{'-' if minutes < 0 else '+'}{hours}{f':{rest:02}' if rest else ''}" if minutes else ""
    return f"{moment(seconds)} (UTC{zone})"


def binding_words(binding: Binding) -> str:
    """Where a secret may go: `api.github.com · GET · /repos/…`."""
    if not binding.hosts:
        return "no host: it goes nowhere"
    parts = [", ".join(binding.hosts)]
    if binding.methods:
        parts.append(", ".join(binding.methods))
    if binding.paths:
        parts.append(", ".join(f"{path}…" for path in binding.paths))
    if binding.plain:
        parts.append("also plain http to this machine")
    if binding.apply:
        parts.append(f"as {binding.apply}")
    if binding.user:
        parts.append(f"user {binding.user}")
    if binding.host_keys:
        parts.append(counted(len(binding.host_keys), "pinned host key"))
    if binding.known_hosts:
        parts.append("hosts of known_hosts")
    return visible(" · ".join(parts))


def grant_words(grants: Sequence[str]) -> str:
    """Who may use a secret: `model anthropic · notebook a.ipynb`."""
    if not grants:
        return "anyone"
    told = []
    for kind in KINDS:
        names = [one.partition(":")[2] for one in grants if one.startswith(f"{kind}:")]
        if names == [NOBODY]:
            told.append(f"no {_KINDS[kind]}")
        elif names:
            told.append(f"{_KINDS[kind]} {' or '.join(_named(kind, name) for name in names)}")
    others = [one for one in grants if one.partition(":")[0] not in KINDS]
    return visible(" · ".join([*told, *others]))


def _named(kind: str, name: str) -> str:
    """A notebook by its file; another front end may call it by a long path."""
    return Path(name).name or name if kind == "notebook" else name


def who_words(who: str) -> str:
    """`tool http_request` for `tool:http_request`; a person is "you"."""
    return "you" if who == "person" else visible(who.replace(":", " ", 1))


def for_words(use: Use) -> str:
    """What a use was for: `GET https://api.github.com/user`."""
    if not use.host:
        return visible(use.why)
    usual = {"https": 443, "http": 80, "ssh": 22}.get(use.scheme)
    port = f":{use.port}" if use.port and use.port != usual else ""
    if use.method == "SSH":
        return visible(f"SSH {use.host}{port} {use.path}".rstrip())
    return visible(f"{use.method} {use.scheme or 'https'}://{use.host}{port}{use.path}".strip())


OUTCOMES: Mapping[str, str] = {
    "used": "✓ allowed",
    "refused": "✗ refused",
    "asked": "? asked",
    "put": "kept",
    "rotated": "rotated",
    "changed": "changed",
    "revoked": "removed",
    "rekeyed": "sealed anew",
    "damaged": "⚠ changed from outside",
}
"""What became of each kind of row in the audit."""


def outcome(row: AuditRow) -> str:
    """How it ended, in a word."""
    return OUTCOMES.get(row.kind, row.kind)


def newest_first(rows: Sequence[AuditRow]) -> list[AuditRow]:
    """Rows of the audit in the order in which a person reads them."""
    return sorted(rows, key=lambda one: -one.seq)


def last_used(rows: Sequence[AuditRow]) -> dict[str, AuditRow]:
    """The last use of each secret, of the newest rows."""
    found: dict[str, AuditRow] = {}
    for row in sorted(rows, key=lambda one: one.seq):
        if row.kind == "used":
            found[row.use.scope] = row
    return found


def users(facts: SecretFacts, rows: Sequence[AuditRow]) -> list[str]:
    """Who uses a secret: whom it is granted to by name, and who has used it."""
    named = [f"{kind} {_named(kind, name)}" for kind, _, name in (g.partition(":") for g in facts.grants)
             if kind in ("model", "tool", "agent") and name != NOBODY]  # fmt: skip
    used = [who_words(row.use.who) for row in rows if row.kind == "used" and row.use.scope == facts.scope]
    return list(dict.fromkeys([*named, *used]))


# -- cards ---------------------------------------------------------------------------------------------------

COLUMNS = ("name", "type", "bound to", "policy", "who may use it", "version", "last used")


def cells_of(facts: SecretFacts, used: AuditRow | None, now: float) -> tuple[str, ...]:
    """One secret under COLUMNS."""
    return (
        facts.scope, facts.type, binding_words(facts.binding), policy_words(facts.policy, now),
        grant_words(facts.grants), str(facts.version), lately(used.moment, now) if used else "never",
    )  # fmt: skip


def list_card(
    kept: Sequence[SecretFacts],
    used: Mapping[str, AuditRow],
    now: float,
    *,
    facts: Sequence[tuple[str, str]] = (),
) -> Card:
    """All secrets that are kept, in print."""
    rows = tuple(cells_of(one, used.get(one.scope), now) for one in kept)
    title = f"{counted(len(kept), 'secret')} kept on this machine" if kept else "no secret is kept yet"
    table = Table("values are never shown", COLUMNS, rows, numbers=frozenset({5}))
    steps: tuple[tuple[str, str], ...] = (
        ("%loom key set anthropic", "asks for the key of a model, hidden"),
        ("%loom key set NAME --host H", "a secret for tools, bound to a host"),
    )
    if kept:
        steps = (
            (f"%loom key show {kept[0].scope}", "one of them with what it was used for"),
            ("%loom key set NAME --host H", "another one"),
            ("%loom key log", "every use, refusal and change"),
            ("%loom key scan", "looks for keys in this notebook before it is shared"),
        )
    return Card(title, tuple(facts), (table,) if kept else (), steps=steps)


def facts_of(facts: SecretFacts, used: AuditRow | None, now: float) -> tuple[tuple[str, str], ...]:
    """What is known of one secret, as lines."""
    told = [
        ("type", facts.type),
        ("bound to", binding_words(facts.binding)),
        ("policy", policy_words(facts.policy, now)),
        ("who may use it", grant_words(facts.grants)),
        ("version", f"{facts.version}, of {moment(facts.updated)}"),
        ("last used", lately(used.moment, now) + f" by {who_words(used.use.who)}" if used else "never"),
    ]
    if facts.note:
        told.append(("note", visible(facts.note)))
    return tuple(told)


def one_card(
    title: str,
    facts: SecretFacts,
    used: AuditRow | None,
    now: float,
    steps: Sequence[tuple[str, str]] = (),
) -> Card:
    """One secret, after something was done to it."""
    return Card(title, facts_of(facts, used, now), steps=tuple(steps))


class _Change(msgspec.Struct, frozen=True):
    """What a row says that was changed."""

    policy: CredentialPolicy | None = None
    binding: Binding | None = None
    grants: tuple[str, ...] | None = None
    note: str | None = None


def reason_words(row: AuditRow, now: float) -> str:
    """Why it was refused, or what was changed to what."""
    if row.kind in ("asked", "refused", "used"):  # who wants what for what stands beside it
        said = wish(row.use.scope, row.use.who)
        return row.reason.removeprefix(said).partition(": ")[2] if row.reason.startswith(said) else row.reason
    if row.kind != "changed":
        return row.reason
    try:
        change = msgspec.json.decode(row.reason, type=_Change)
    except (msgspec.MsgspecError, LoomUsageError):
        return row.reason
    told = []
    if change.policy is not None:
        told.append(f"policy: {policy_words(change.policy, now)}")
    if change.binding is not None:
        told.append(f"bound to: {binding_words(change.binding)}")
    if change.grants is not None:
        told.append(f"who may use it: {grant_words(change.grants)}")
    if change.note is not None:
        told.append(f"note: {change.note}")
    return "; ".join(told) or row.reason


LOG_COLUMNS = ("when", "secret", "who", "what for", "outcome", "why")


def log_cells(row: AuditRow, now: float) -> tuple[str, ...]:
    """One row of the audit under LOG_COLUMNS."""
    why = reason_words(row, now) or (
        f"it was wanted for: {row.use.why}" if row.use.why and row.use.host else ""
    )
    return (
        _when(row.moment, now), row.use.scope or "all", who_words(row.use.who), for_words(row.use),
        outcome(row), visible(why),
    )  # fmt: skip


def _when(seconds: float, now: float) -> str:
    """The time of today to the second, else the day and the minute."""
    then = time.localtime(seconds)
    today = time.localtime(now)[:3] == then[:3]
    return time.strftime("%H:%M:%S", then) if today else moment(seconds)


def log_card(rows: Sequence[AuditRow], now: float, name: str = "") -> Card:
    """The audit, in this order: the newest first."""
    shown = rows[:MOST_IN_PRINT]
    of = f" of {name}" if name else ""
    if not rows:
        return Card(f"nothing has happened{of}", steps=(("%loom key", "what is kept"),))
    left = len(rows) - len(shown)
    table = Table("the newest first", LOG_COLUMNS, tuple(log_cells(row, now) for row in shown))
    facts = (("left out", f"{left:,} older rows"),) if left else ()
    return Card(
        f"audit{of}: {counted(len(rows), 'row')}", facts, (table,), steps=(("%loom key", "what is kept"),)
    )


def log_text(rows: Sequence[AuditRow], now: float) -> str:
    """The audit of one secret as lines of text."""
    lines = [log_cells(row, now) for row in rows]
    return "\n".join(
        " · ".join(part for part in (when, how, who, what, why) if part)
        for when, _, who, what, how, why in lines
    )
