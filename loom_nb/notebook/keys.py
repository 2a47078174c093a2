"""`%loom key`: secrets are set, looked at, bound, granted and removed; their values are never shown.

A value comes in by a hidden question, or by name from the environment, a `.env` or a key file, and goes
straight to where secrets are kept. It is no part of a cell, an output, an event or an error.
"""

import os
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from loom_nb.credentials.policies import Binding, CredentialPolicy, SecretFacts
from loom_nb.credentials.secrets import FIELDS, SECRET_TYPES, SecretType, secret
from loom_nb.credentials.uses import AuditRow
from loom_nb.errors import AnswerRefused, LoomUsageError, ScopeNotFound, SecretDamaged, SecretsLocked
from loom_nb.notebook import cell as cells
from loom_nb.notebook import key_cards as cards
from loom_nb.notebook import key_line as lines
from loom_nb.notebook import key_values as values
from loom_nb.notebook.card import Card
from loom_nb.notebook.key_findings import look_for_keys
from loom_nb.notebook.key_frames import without_frames
from loom_nb.notebook.key_line import KeyLine
from loom_nb.notebook.key_opening import lock, rekey, under_key, unlock
from loom_nb.notebook.key_places import is_begun
from loom_nb.notebook.key_vendors import binding_of_vendor, vendor_named
from loom_nb.notebook.session_cards import lately
from loom_nb.questions import Question
from loom_nb.runtime.threads import in_thread

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

LOOKED_AT = 1_000
"""Rows of the audit, newest first, in which the last use of a secret is looked for."""


async def key(bench: "Workbench", words: list[str]) -> Card:
    """Carry out one `%loom key` line.

    Raises:
        LoomUsageError: there is no such word, flag or secret, or a value does not fit.
        LoomKeyError: a person would have to type, and there is none; or the store is locked.
        CredentialError: the store refuses.

    No error brings its frames along: a value was in some of them.
    """
    ended = await _ended(bench, words)
    if isinstance(ended, BaseException):
        raise ended
    return ended


async def _ended(bench: "Workbench", words: list[str]) -> Card | BaseException:
    try:
        verb, *rest = words or [""]
        if verb.startswith("-") or verb not in VERBS:
            raise _no_verb(bench, verb)
        return await VERBS[verb](bench, lines.read(verb, rest))
    except BaseException as error:  # noqa: BLE001  the border: whatever it is, its frames stay here
        return without_frames(error)


def _no_verb(bench: "Workbench", verb: str) -> LoomUsageError:
    if lines.looks_like_a_value(verb):
        return lines.refuse_value("set")
    near = [f"%loom key {one}" for one in cells.near(verb, VERBS)]
    if not near and any(one.scope == verb for one in _kept(bench)):
        near = [f"%loom key show {verb}", f"%loom key rotate {verb}"]
    words = ", ".join(one for one in VERBS if one)
    return LoomUsageError(
        "%loom key has no such word",
        cause=f"words: {words}",
        fixes=near or ["%loom key set NAME", "%loom key"],
    )


def _kept(bench: "Workbench") -> tuple[SecretFacts, ...]:
    return bench.secrets.list() if bench.has_secrets or is_begun(bench.settings.home) else ()


# -- looking -------------------------------------------------------------------------------------------------


async def _list(bench: "Workbench", line: KeyLine) -> Card:
    from loom_nb.notebook.key_table import KeyRows

    if line.names:
        raise LoomUsageError("%loom key takes no name here", fixes=[f"%loom key show {line.names[0]}"])
    ended = await _end_with_notebooks(bench)
    rows = KeyRows(bench, ended)
    return bench.tables.card(rows, await rows.contents())


async def _end_with_notebooks(bench: "Workbench") -> tuple[str, ...]:
    """Take back what was granted to notebooks whose file is gone: another of that name is another one."""
    ended = []
    for facts in await in_thread(_kept, bench=bench):
        gone = lines.gone_notebooks(facts.grants, bench.notebook)
        if gone:
            left = lines.revoked(facts.grants, gone)
            with suppress(SecretsLocked, SecretDamaged):  # it is looked at, and not opened for that
                await in_thread(bench.secrets.change, scope=facts.scope, grants=left)
                ended.append(f"{facts.scope}: {cards.grant_words(gone)} is gone, and its leave with it")
    return tuple(ended)


async def _show(bench: "Workbench", line: KeyLine) -> Card:
    facts = await named(bench, line)
    rows = cards.newest_first(await in_thread(bench.secrets.log, scope=facts.scope, limit=LOOKED_AT))
    used, now = cards.last_used(rows).get(facts.scope), time.time()
    shown = cards.log_card(rows, now, facts.scope)
    return Card(facts.scope, cards.facts_of(facts, used, now), shown.tables, steps=_steps(facts))


def _steps(facts: SecretFacts) -> tuple[tuple[str, str], ...]:
    name = facts.scope
    bind = () if facts.binding.hosts else ((f"%loom key bind {name} --host H", "until then it goes nowhere"),)
    bound = any(one.startswith("notebook:") for one in facts.grants)
    here = () if bound else ((f"%loom key grant {name} --here", "only in this notebook"),)
    return (
        *bind,
        (f"%loom key rotate {name}", "another value; all else stays"),
        (f"%loom key policy {name} one_shot:3", "when it may be used"),
        *here,
        (f"%loom key rm {name}", "forgets it"),
    )[:4]


async def _used(bench: "Workbench", facts: SecretFacts) -> AuditRow | None:
    """When a secret was used last; None where it never was."""
    rows = await in_thread(bench.secrets.log, scope=facts.scope, limit=LOOKED_AT)
    return cards.last_used(rows).get(facts.scope)


async def _log(bench: "Workbench", line: KeyLine) -> Card:
    from loom_nb.notebook.key_table import LogRows

    name = (await named(bench, line, gone=True)) if line.names else ""
    rows = LogRows(bench, name, refused="--refused" in line.flags)
    return bench.tables.card(rows, await rows.contents())


async def named(bench: "Workbench", line: KeyLine, *, gone: bool = False) -> Any:
    """The facts of the secret that a line names; with `gone` its name, as long as the audit knows it.

    Raises:
        LoomUsageError: there is none; says which are near.
    """
    name = line.name
    try:
        facts = await in_thread(bench.secrets.facts, scope=name)
    except ScopeNotFound:
        if gone and await in_thread(bench.secrets.log, scope=name, limit=1):
            return name
        raise _no_secret(bench, name, line.verb) from None
    return name if gone else facts


def _no_secret(bench: "Workbench", name: str, verb: str) -> LoomUsageError:
    near = cells.near(name, [one.scope for one in _kept(bench)])
    return LoomUsageError(
        f"no secret is kept as {name}",
        fixes=[*(f"%loom key {verb} {one}" for one in near), f"%loom key set {name}", "%loom key"][:3],
    )


# -- setting -------------------------------------------------------------------------------------------------


async def _set(bench: "Workbench", line: KeyLine) -> Card:
    name = line.name
    wanted = _wanted(bench, line, name)
    try:
        facts = await in_thread(bench.secrets.facts, scope=name)
    except ScopeNotFound:
        pass
    else:
        return await _is_there(bench, facts, line, wanted)
    fields = await _fields(bench, line, wanted.type, _told(wanted, name), f"%loom key set {name}")
    facts = await under_key(
        bench, f"%loom key set {name}",
        lambda: bench.secrets.put(
            name, wanted.type, fields, binding=wanted.binding, policy=wanted.policy,
            grants=wanted.grants, note=wanted.note,
        ),
    )  # fmt: skip
    card = cards.one_card(f"{name} is kept, encrypted", facts, None, time.time(), _after_set(line, facts))
    return _and_where(bench, card, *_left_behind(line))


class _Wanted(msgspec.Struct, frozen=True):
    """What is to be kept beside the value."""

    type: SecretType
    binding: Binding
    policy: CredentialPolicy
    grants: tuple[str, ...]
    note: str


def _wanted(bench: "Workbench", line: KeyLine, name: str) -> _Wanted:
    """What a line asks for; a vendor of models needs nothing but its name.

    Raises:
        LoomUsageError: a type, policy, host or grant is none; a vendor is probably misspelt.
    """
    vendor = vendor_named(name) if not line.one("--type") else None
    _refuse_misspelt(line, name)
    of = line.one("--type") or "api_key"
    known = next((one for one in SECRET_TYPES if one == of.replace("-", "_")), None)
    if known is None:
        near = cells.near(of, SECRET_TYPES)
        raise LoomUsageError(
            "there is no such type of secret", cause=f"types: {', '.join(SECRET_TYPES)}",
            fixes=[f"--type {one}" for one in near],
        )  # fmt: skip
    binding = lines.binding_of(line, binding_of_vendor(vendor, os.environ) if vendor else Binding())
    grants = lines.grants_of(line, bench.notebook)
    if vendor is not None:
        grants = lines.granted((f"model:{vendor.name}",), grants)
    policy = line.one("--policy")
    usual = CredentialPolicy(mode="autonomous") if vendor is not None else CredentialPolicy()
    made = lines.policy_of(policy, lines.here_and_now()) if policy else usual
    return _Wanted(known, binding, made, grants, line.one("--note"))


def _refuse_misspelt(line: KeyLine, name: str) -> None:
    from loom_nb.models.registry import VENDORS

    if name in VENDORS:
        if not VENDORS[name].key_env and not line.one("--type"):
            raise LoomUsageError(
                f"{name} needs no key: it runs on this machine", fixes=[f"%loom model {name}"]
            )
        return
    near = cells.near(name, [one.name for one in VENDORS.values() if one.key_env], cutoff=0.8)
    if near and not line.flags:
        raise LoomUsageError(
            f"%loom key set {name}: where may it go?",
            cause=f"{name} is no vendor of models that is known here",
            fixes=[f"%loom key set {near[0]}", f"%loom key set {name} --host H"],
        )


def _told(wanted: _Wanted, name: str) -> str:
    """What will be kept, in a few lines."""
    now = time.time()
    told = [
        f"bound to: {cards.binding_words(wanted.binding)}",
        f"policy: {cards.policy_words(wanted.policy, now)}",
        f"who may use it: {cards.grant_words(wanted.grants)}",
    ]
    vendor = vendor_named(name)
    found = [one for one in vendor.key_env if os.environ.get(one)] if vendor is not None else []
    if found:
        told.append(f"{found[0]} is set in the environment: --from-env {found[0]} takes it from there")
    return "\n".join(told)


async def _is_there(bench: "Workbench", facts: SecretFacts, line: KeyLine, wanted: _Wanted) -> Card:
    """Nothing is asked twice: a notebook that is run again leaves what is kept as it is."""
    name = facts.scope
    steps = [(f"%loom key rotate {name}", "another value; all else stays")]
    if line.flags.keys() & lines.BINDING.keys() and wanted.binding != facts.binding:
        hosts = " ".join(f"--host {one}" for one in wanted.binding.hosts)
        steps.append(
            (f"%loom key bind {name} {hosts}", "it is bound elsewhere: this line did not change that")
        )
    if line.one("--policy") and wanted.policy.mode != facts.policy.mode:
        steps.append(
            (
                f"%loom key policy {name} {line.one('--policy')}",
                "it has another policy: this line did not change it",
            )
        )
    if not set(lines.grants_of(line, bench.notebook)) <= set(facts.grants):
        steps.append((f"%loom key grant {name} …", "it is granted otherwise: this line did not change that"))
    used = await _used(bench, facts)
    return cards.one_card(f"{name} is kept already: nothing was asked", facts, used, time.time(), steps)


def _after_set(line: KeyLine, facts: SecretFacts) -> list[tuple[str, str]]:
    steps = []
    if vendor_named(facts.scope) is not None and facts.type == "api_key":
        steps.append((f"%loom model {facts.scope}", "uses it from now on"))
    if not facts.binding.hosts:
        steps.append((f"%loom key bind {facts.scope} --host H", "until then it goes nowhere"))
    if not any(one.startswith("notebook:") for one in facts.grants):
        steps.append((f"%loom key grant {facts.scope} --here", "only in this notebook"))
    return [*steps, ("%loom key", "what is kept")]


def _left_behind(line: KeyLine) -> tuple[tuple[str, str], ...]:
    """Where the value still stands besides."""
    if "--from-env" in line.flags:
        return (("also still in", "the environment, where code in this kernel reads it: unset it"),)
    if "--from-dotenv" in line.flags or "--from-file" in line.flags:
        return (("also still in", "that file, where code of this user reads it"),)
    return ()


def _and_where(bench: "Workbench", card: Card, *more: tuple[str, str]) -> Card:
    """A card that says what opens the secrets, and so where no process of its own keeps them."""
    from loom_nb.notebook.key_table import told_of

    return replace(card, facts=(*card.facts, *told_of(bench, any_kept=True), *more))


async def _rotate(bench: "Workbench", line: KeyLine) -> Card:
    facts = await named(bench, line)
    of = next(one for one in SECRET_TYPES if one == facts.type)
    told = f"Takes the place of version {facts.version}; its binding, policy and grants stay."
    fields = await _fields(bench, line, of, told, f"%loom key rotate {facts.scope}")
    now = await under_key(
        bench, f"%loom key rotate {facts.scope}", lambda: bench.secrets.rotate(facts.scope, fields)
    )
    title = f"{facts.scope} has another value: version {now.version}"
    card = cards.one_card(title, now, await _used(bench, now), time.time(), [("%loom key", "what is kept")])
    before = ("the old one", "still works where it comes from, until it is withdrawn there")
    return replace(card, facts=(*card.facts, before, *_left_behind(line)))


# -- the value -------------------------------------------------------------------------------------------


async def _fields(
    bench: "Workbench", line: KeyLine, of: SecretType, told: str, asked_by: str
) -> dict[str, object]:
    """The fields of a secret: those that the line says where to find, and a hidden question for the rest.

    Raises:
        LoomUsageError: a value cannot be found, or does not fit. No message holds one.
        NobodyToAsk: something is left to be typed, and nobody is there.
    """
    found = values.given_fields(line, of, os.environ)
    names = [*FIELDS[of].required, *FIELDS[of].optional]
    left = [name for name in names if name not in found]
    if not [name for name in FIELDS[of].required if name not in found]:
        secret(of, found)
        return found
    question, main = values.question_for(of, left, line.name, told, asked_by), values.main_field(of)

    def take(answer: Any) -> dict[str, object]:
        entered = {main: answer} if question.kind == "secret" else dict(answer)
        try:
            secret(of, {**found, **entered})
        except LoomUsageError as error:
            raise AnswerRefused("this is no such secret", cause=values.complaint(of, error)) from None
        return entered

    field = "" if len(FIELDS[of].required) == 1 else f"{main}="
    fixes = (f"{asked_by} --from-env {field}VARIABLE", f"{asked_by} --from-dotenv {field}.env:VARIABLE")
    return {**found, **await bench.ask(question, take, fixes)}


# -- changing ------------------------------------------------------------------------------------------------


async def _rm(bench: "Workbench", line: KeyLine) -> Card:
    name = line.name
    try:
        facts = await named(bench, line)
        rows = await in_thread(bench.secrets.log, scope=name, limit=LOOKED_AT)
        told = _who_misses(facts, rows)
    except SecretDamaged as damage:  # nothing can be read of it but its name
        told = damage.title
    if "--yes" not in line.flags:
        asked_by = f"%loom key rm {name}"
        question = Question(
            asked_by, "confirm", f"Forget {name} for good?", text=told, asked_by=asked_by
        )  # fmt: skip
        if not await bench.ask(question, bool, (f"{asked_by} --yes",)):
            return Card(f"{name} stays")
    return removed(name, await in_thread(bench.secrets.revoke, scope=name))


def _who_misses(facts: SecretFacts, rows: Sequence[AuditRow]) -> str:
    used = cards.last_used(rows).get(facts.scope)
    users = cards.users(facts, rows)
    told = [f"used by: {', '.join(users)}" if users else "nobody has used it"]
    if used is not None:
        told.append(f"last used {lately(used.moment, time.time())}: {cards.for_words(used.use)}")
    told.append("Its value is gone then. What it opens goes on knowing it until it is withdrawn there.")
    return "\n".join(told)


def removed(name: str, was_there: bool) -> Card:
    """After a secret was forgotten."""
    title = f"{name} is forgotten" if was_there else f"{name} was gone already"
    return Card(
        title, steps=((f"%loom key log {name}", "what it was used for"), ("%loom key", "what is still kept"))
    )


async def _grant(bench: "Workbench", line: KeyLine) -> Card:
    facts = await named(bench, line)
    named_here = lines.grants_of(line, bench.notebook)
    kinds = line.flags.get("--any", ())
    if not named_here and not kinds:
        raise LoomUsageError(
            f"%loom key grant {facts.scope}: to whom?",
            fixes=[
                f"%loom key grant {facts.scope} {one}"
                for one in ("--here", "--tool http_request", "--any notebook")
            ],
        )
    before = lines.opened(facts.grants, kinds)
    revoking = "--revoke" in line.flags
    missing = [one for one in named_here if one not in before]
    if revoking and missing:
        raise LoomUsageError(
            f"{facts.scope} is not granted to {cards.grant_words(missing)}",
            cause=f"who may use it: {cards.grant_words(facts.grants)}",
        )
    grants = lines.revoked(before, named_here) if revoking else lines.granted(before, named_here)
    now = await under_key(
        bench, f"%loom key grant {facts.scope}", lambda: bench.secrets.change(facts.scope, grants=grants)
    )
    word = "opened to" if kinds and not named_here else "taken from" if revoking else "granted to"
    to = cards.grant_words(named_here) if named_here else ", ".join(f"any {kind}" for kind in kinds)
    back = _grant_back(facts, named_here, bench.notebook, revoking=revoking)
    used = await _used(bench, now)
    return cards.one_card(f"{facts.scope} is {word} {to}", now, used, time.time(), back)


def _flag(grant: str, notebook: str) -> str:
    """A grant as it is typed."""
    kind, _, name = grant.partition(":")
    return "--here" if grant == f"notebook:{notebook}" else f"--{kind} {shlex.quote(name)}"


def _grant_back(
    facts: SecretFacts, named_here: Sequence[str], notebook: str, *, revoking: bool
) -> tuple[tuple[str, str], ...]:
    if not named_here:
        return (("%loom key", "who may use what"),)
    flags = " ".join(_flag(one, notebook) for one in named_here)
    if revoking:
        return ((f"%loom key grant {facts.scope} {flags}", "grants it again"),)
    kind = named_here[0].partition(":")[0]
    first = not any(one.startswith(f"{kind}:") for one in facts.grants)
    back = f"%loom key grant {facts.scope} " + (f"--any {kind}" if first else f"{flags} --revoke")
    return ((back, f"any {kind} again, as before" if first else "takes that back"),)


async def _policy(bench: "Workbench", line: KeyLine) -> Card:
    name, *words = line.names or ("",)
    one = KeyLine("policy", (name,) if name else ())
    facts = await named(bench, one)
    if not words:
        raise LoomUsageError(
            f"%loom key policy {name}: which?",
            cause=f"now: {cards.policy_words(facts.policy, time.time())}",
            fixes=[
                f"%loom key policy {name} {word}"
                for word in ("autonomous", "one_shot:3", "time_boxed now..+2h")
            ],
        )
    policy = lines.policy_of(" ".join(words), lines.here_and_now())
    return await changed(bench, facts, f"%loom key policy {name}", policy=policy)


async def _bind(bench: "Workbench", line: KeyLine) -> Card:
    facts = await named(bench, line)
    if not line.flags:
        raise LoomUsageError(
            f"%loom key bind {facts.scope}: to what?",
            cause=f"now: {cards.binding_words(facts.binding)}",
            fixes=[f"%loom key bind {facts.scope} --host api.github.com --method GET --path /repos/"],
        )
    binding = lines.binding_of(line, facts.binding)
    return await changed(bench, facts, f"%loom key bind {facts.scope}", binding=binding)


async def changed(
    bench: "Workbench",
    facts: SecretFacts,
    line: str,
    *,
    policy: CredentialPolicy | None = None,
    binding: Binding | None = None,
) -> Card:
    """Give a secret another policy or binding; the card says how it was."""
    now = await under_key(
        bench, line, lambda: bench.secrets.change(facts.scope, policy=policy, binding=binding)
    )
    moment = time.time()
    before = (
        cards.policy_words(facts.policy, moment) if policy is not None else cards.binding_words(facts.binding)
    )
    what = "policy" if policy is not None else "binding"
    card = cards.one_card(f"{facts.scope} has another {what}", now, await _used(bench, now), moment)
    return Card(card.title, (*card.facts, (f"{what} before", before)), steps=(("%loom key", "what is kept"),))


VERBS: Mapping[str, Callable[["Workbench", KeyLine], Awaitable[Card]]] = {
    "": _list,
    "set": _set,
    "rotate": _rotate,
    "show": _show,
    "rm": _rm,
    "grant": _grant,
    "policy": _policy,
    "bind": _bind,
    "log": _log,
    "lock": lock,
    "unlock": unlock,
    "rekey": rekey,
    "scan": look_for_keys,
}
"""What stands behind `%loom key`."""
