"""The commands of `%loom` about what the model is shown: context and compact. Both are awaited."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loom_nb.errors import LoomUsageError
from loom_nb.events import (
    Change,
    LogEntry,
    Mark,
)
from loom_nb.notebook import cell as cells
from loom_nb.notebook.card import Card
from loom_nb.notebook.context_cards import (
    FirstRequest,
    Past,
    Setting,
    compact_card,
    content,
    difference_card,
    item_card,
    ledger_card,
    state,
)

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench
    from loom_nb.runtime.context import View
    from loom_nb.runtime.ledger import Ledger
    from loom_nb.runtime.session import Session

Verb = Callable[["Workbench", list[str]], Awaitable[Card]]

_ITEM = re.compile(r"m(\d{1,9})(?:\.(\d{1,4})|-m?(\d{1,9}))?")
_RUN = re.compile(r"((?:[\w.-]+/)?(?:r\d{1,9}|last))(?:\.(\d{1,9}))?")
_COMPACTION = re.compile(r"c\d{1,9}")
_TOKENS = re.compile(r"(\d+(?:[.,]\d+)*)\s*(k|m)?(?:\s*tok(?:ens?)?)?", re.IGNORECASE)
MOST_MARKED = 1_000
"""Messages that one line pins or hides."""


async def context(bench: "Workbench", words: list[str]) -> Card:
    """What the next request is made of; with a word: one of `VERBS`.

    Raises:
        LoomUsageError: there is no such word or item, or a run of the conversation has not ended.
    """
    verb, *arguments = words or [""]
    named = arguments if verb == "show" else [verb, *arguments]
    asked = _RUN.fullmatch(named[0]) if named and named[1:] in ([], ["all"]) else None
    if asked is not None:
        return _past(bench, asked[1], asked[2], whole=bool(named[1:]))
    do = VERBS.get(verb)
    if do is None:
        near = cells.near(verb, [one for one in VERBS if one])
        raise LoomUsageError(
            f"%loom context has no '{verb}'",
            cause=f"it knows: {', '.join(one for one in VERBS if one)}",
            fixes=[*(f"%loom context {one}" for one in near), "%loom context"],
        )
    return await do(bench, arguments)


async def compact(bench: "Workbench", words: list[str]) -> Card:
    """Show the model less; `--preview` only says what would be done, `undo` takes it back.

    Raises:
        LoomUsageError: there is no such strategy, or nothing of that name to undo.
        ModelError: the model was to write a handoff, and the call failed.
    """
    if words[:1] == ["undo"]:
        return await _undo(bench, words[1:])
    preview = any(word in _PREVIEW for word in words)
    named = [word for word in words if word not in _PREVIEW]
    known = [step.compaction.name for step in bench.runtime().context.ladder]
    wrong = [word for word in named if word not in known]
    if wrong or len(named) > 1:
        near = cells.near(wrong[0], [*known, "undo", "--preview"]) if wrong else []
        raise LoomUsageError(
            f"%loom compact takes one of {', '.join(known)}, not {' '.join(named)!r}",
            fixes=[*(f"%loom compact {one}" for one in near), "%loom compact --preview"],
        )
    session = session_of(bench)
    if session is None:
        return nothing_yet(bench)
    taken = await session.compact(named[0] if named else None, agent=bench.plain_agent(), preview=preview)
    if not taken:
        return _nothing_to_do(session, named)
    return compact_card(taken, preview=preview, ascii=bench.settings.ascii)


_PREVIEW = ("--preview", "-n", "--dry-run")


def _nothing_to_do(session: "Session", named: list[str]) -> Card:
    what = f" for {named[0]}" if named else ""
    return Card(
        f"nothing to compact{what}",
        (
            ("conversation", f"about {session.view.tokens:,} tokens in {len(session.conversation)} messages"),
            ("stays", "the latest prompt, the last turn and what is pinned; a step must free 2 % at least"),
        ),
        steps=(("%loom context", "what is sent now"), ("%loom compact collapse", "a stronger step")),
    )


# -- the ledger and its items ----------------------------------------------------------------------------


async def _ledger(bench: "Workbench", words: list[str], *, whole: bool = False) -> Card:
    from loom_nb.notebook.context_table import ContextRows

    _no_more("", words)
    session = session_of(bench)
    if session is None:
        return nothing_yet(bench)
    rows = ContextRows(bench, session.id, whole=whole)
    return bench.tables.card(rows, await rows.contents())


async def ledger_of(bench: "Workbench", session: "Session") -> tuple["Ledger", Setting]:
    """What the next request of a cell without flags is made of, and what is known of its budget."""
    agent = bench.plain_agent()
    ledger = await session.ledger(agent=agent, notes=bench.freshness.notes())
    protocol = agent.runtime.context
    view = session.view
    return ledger, Setting(
        bench.model_name,
        own=protocol.budget is not None,
        first=min((step.at for step in protocol.ladder), default=0.0),
        compactions=tuple(_named(view)),
        pinned=len(view.pinned),
        hidden=len(view.hidden),
    )


async def _all(bench: "Workbench", words: list[str]) -> Card:
    return await _ledger(bench, words, whole=True)


@dataclass(frozen=True, slots=True)
class Whole:
    """An item in full."""

    name: str
    sent: str
    """What is sent of it."""
    was: str = ""
    """What it is, where less or something else of it is sent."""
    told: tuple[tuple[str, str], ...] = ()
    steps: tuple[tuple[str, str], ...] = ()


async def _show(bench: "Workbench", words: list[str]) -> Card:
    if len(words) != 1:
        raise _which("show")
    session = session_of(bench)
    if session is None:
        return nothing_yet(bench)
    whole = await in_full(bench, session, words[0])
    return item_card(whole.name, whole.sent, whole.was, told=whole.told, steps=whole.steps)


async def in_full(bench: "Workbench", session: "Session", name: str) -> Whole:
    """An item as it is sent, and as it was. Raises LoomUsageError where there is none of that name."""
    ledger = await session.ledger(agent=bench.plain_agent(), notes=bench.freshness.notes())
    named = _ITEM.fullmatch(name)
    if named is None:
        return await _whole_of_head(bench, session, ledger, name)
    first, last = _numbers(name, len(session.conversation))
    return _whole_of_messages(session, ledger, name, first, last, int(named[2]) if named[2] else None)


def _whole_of_messages(
    session: "Session", ledger: "Ledger", name: str, first: int, last: int, part: int | None
) -> Whole:
    from loom_nb.tokens import estimate_message

    shown = [item for item in session.view.items() if item.last >= first and item.first <= last]
    sent, was = [item.message for item in shown], session.conversation.messages[first : last + 1]
    by = [name for name, changes in _covering(session.view, first, last) if changes]
    changed = any(item.changed for item in shown) or not shown
    told = [("state", _state(ledger, name.partition(".")[0], by))]
    told.append(("sent", f"{sum(map(estimate_message, sent)):,} tokens"))
    if changed:
        told.append(("was", f"{sum(map(estimate_message, was)):,} tokens"))
    low, high = min([first, *(item.first for item in shown)]), max([last, *(item.last for item in shown)])
    if (low, high) != (first, last):
        told.append(("part of", f"m{low + 1}-m{high + 1}"))
    told += whereabouts(ledger, name)
    if part is not None and len(sent) == len(was) == 1 and part <= len(was[0].parts) == len(sent[0].parts):
        sent, was = [_only(sent[0], part)], [_only(was[0], part)]
    item = f"m{first + 1}"
    return Whole(
        name,
        "\n\n".join(map(content, sent)) or "(nothing)",
        "\n\n".join(map(content, was)) if changed else "",
        tuple(told),
        (
            *((f"%loom compact undo {one} m{low + 1}", "sends it as it was") for one in by[-1:]),
            (f"%loom context hide {item}", "keeps it from the model"),
            (f"%loom context pin {item}", "keeps it from compaction"),
        ),
    )


def whereabouts(ledger: "Ledger", name: str) -> list[tuple[str, str]]:
    """Why an item is there, what it comes from, and what has changed since, each once."""
    message = name.partition(".")[0]
    items = [one for one in ledger.items if one.name in (name, message) or one.name.startswith(f"{name}.")]
    rows = (("why", "why"), ("source", "source"), ("stale", "stale"))
    found = {label: list(dict.fromkeys(filter(None, (getattr(i, f) for i in items)))) for label, f in rows}
    return [(label, "; ".join(words)) for label, words in found.items() if words]


def _covering(view: "View", first: int, last: int) -> list[tuple[str, list[Change]]]:
    """(compaction, its changes) that reach into a range."""
    return [
        (name, [change for change in changes if change.first <= last and change.last >= first])
        for name, changes in view.counting().items()
    ]


def _state(ledger: "Ledger", name: str, by: list[str]) -> str:
    row = next((item for item in ledger.items if item.name.partition(".")[0] == name), None)
    if row is not None:
        return state(row)
    return f"left out by {by[-1]}" if by else "sent"


def _only(message: Any, part: int) -> Any:
    from msgspec.structs import replace

    return replace(message, parts=message.parts[max(0, part - 1) : part])


async def _whole_of_head(bench: "Workbench", session: "Session", ledger: "Ledger", name: str) -> Whole:
    """The instructions or a tool, as they are sent."""
    import json

    from loom_nb.messages import DataPart

    names = [item.name for item in ledger.items if item.section != "history"]
    found = next((item for item in ledger.items if item.name in (name, f"tool:{name}")), None)
    if found is None or found.section == "history":
        near = cells.near(name, names)
        raise LoomUsageError(
            f"there is no item '{name}'",
            cause=f"messages are m1 to m{len(session.conversation)}; then there are: {', '.join(names[:30])}",
            fixes=[*(f"%loom context show {one}" for one in near), "%loom context"],
        )
    request, _ = await session.preview("…", agent=bench.plain_agent())
    told = (("sent", f"{found.tokens:,} tokens"), ("section", found.section), ("why", found.why))
    working = request.working.parts if request.working is not None else ()
    part = next((one for one in working if isinstance(one, DataPart) and one.name == found.name), None)
    if part is not None:
        return Whole(found.name, part.text, told=(*told, ("from", str(part.origin))))
    tool = next((one for one in request.tools if f"tool:{one.name}" == found.name), None)
    if tool is None:
        return Whole(found.name, request.system, told=told)
    schema = json.dumps(json.loads(tool.encoded_schema), indent=2, ensure_ascii=False)
    return Whole(found.name, f"{tool.description}\n\n{schema}", told=told)


# -- pinned and hidden -----------------------------------------------------------------------------------


def _marker(verb: str, to: Mark | None) -> Verb:
    async def do(bench: "Workbench", words: list[str]) -> Card:
        if not words:
            raise _which(verb)
        session = session_of(bench)
        return nothing_yet(bench) if session is None else _marked(await mark(bench, session, words, to))

    return do


@dataclass(frozen=True, slots=True)
class Marked:
    """Messages that were pinned, hidden, or neither of both any more."""

    numbers: list[int]
    """Counted from 0."""
    mark: Mark | None
    before: int
    """Tokens of the conversation."""
    after: int
    notes: tuple[str, ...]
    """What follows from it for compactions."""

    @property
    def fate(self) -> str:
        """What is said of them, behind their names."""
        are, them = ("are", "them") if len(self.numbers) > 1 else ("is", "it")
        return {
            "pinned": f"{are} pinned: compaction leaves {them} as it is",
            "hidden": f"{are} hidden: the model is not shown {them}",
            None: f"{are} neither pinned nor hidden any more",
        }[self.mark]


async def mark(bench: "Workbench", session: "Session", words: Sequence[str], to: Mark | None) -> Marked:
    """Pin or hide the messages of items, or neither. Raises LoomUsageError where there is no such item."""
    await session.ledger(agent=bench.plain_agent())  # opens the log, so that the messages are known
    count = len(session.conversation)
    numbers = list(dict.fromkeys(n for word in words for n in _range(word, count)))[:MOST_MARKED]
    before, counted = session.view.tokens, set(session.view.counting())
    await session.mark_all(numbers, to)
    gone = sorted(counted - set(session.view.counting()))
    notes = [f"{name} may tell of it and is not sent any more: {_AGAIN}" for name in gone]
    for number in numbers:
        for name, changes in _covering(session.view, number, number):
            if changes:
                undo = f"%loom compact undo {name} m{number + 1}"
                notes.append(f"m{number + 1} is part of what {name} shortened: {undo}")
    return Marked(numbers, to, before, session.view.tokens, tuple(notes))


def _marked(done: Marked) -> Card:
    names = ", ".join(f"m{number + 1}" for number in done.numbers)
    facts = [("conversation", f"{done.before:,} → {done.after:,} tokens")]
    facts += [("note", note) for note in done.notes]
    words = " ".join(f"m{number + 1}" for number in done.numbers[:10])
    other = {"pinned": "unpin", "hidden": "unhide", None: "pin"}[done.mark]
    told = {"pinned": "takes it back", "hidden": "takes it back", None: "keeps it from compaction"}[done.mark]
    return Card(
        f"{names} {done.fate}",
        tuple(facts),
        steps=((f"%loom context {other} {words}", told), ("%loom context", "the whole")),
    )


_AGAIN = "%loom compact makes another one"


def _named(view: "View") -> list[str]:
    """The compactions that count, oldest first, each with its strategy."""
    return [f"{name} {view.compactions[name].strategy}" for name in view.counting()]


# -- budget ----------------------------------------------------------------------------------------------


async def _budget(bench: "Workbench", words: list[str]) -> Card:
    from loom_nb.runtime.compaction import ContextProtocol

    told = " ".join(words).strip().lower()
    if told in ("off", "none", "no"):
        bench.context_budget = None
        return Card("no budget is set: what the model can take counts, where it is known")
    if told:
        tokens = _tokens(told)
        try:
            ContextProtocol(budget=tokens)
        except LoomUsageError as error:
            raise LoomUsageError(
                f"a budget of {told} tokens", cause=error.cause, fixes=["%loom context budget 20k"]
            ) from None
        bench.context_budget = tokens
    now = bench.context_budget
    if now is None:
        window = bench.model.window()
        known = f"{window:,} tokens, the window of {bench.model_name}" if window else "not known"
        return Card(
            "no budget is set in this notebook",
            (("the model", known),),
            steps=(("%loom context budget 40k", "sets how much of a conversation may be sent"),),
        )
    title = f"a request may have {now:,} tokens" + (" from the next cell on" if told else "")
    facts = (("compaction", bench.runtime().context.describe().partition("; ")[2]),)
    return Card(
        title, facts, steps=(("%loom context budget off", "sets none"), ("%loom context", "what is sent"))
    )


def _tokens(told: str) -> int:
    found = _TOKENS.fullmatch(told)
    if found is None:
        raise LoomUsageError(
            f"'{told}' is no number of tokens", fixes=["%loom context budget 40k", "%loom context budget off"]
        )
    digits = found[1]
    if found[2] is None:
        return int(re.sub(r"[.,]", "", digits))
    return int(float(digits.replace(",", ".")) * {"k": 1_000, "m": 1_000_000}[found[2]])


async def _default(bench: "Workbench", words: list[str]) -> Card:
    """What travels with the prompts of cells that do not say."""
    from loom_nb.notebook import context_spec

    if words:
        spec = context_spec.parse(",".join(words), bench.names())
        bench.context_default, bench.context_default_from = str(spec), "%loom context default"
    title = f"--ctx {bench.context_default}" + (" from the next cell on" if words else "")
    return Card(
        f"cells without --ctx: {title}",
        tuple(context_spec.WORDS.items()),
        steps=(("%%loom --ctx above", "for one cell"), ("%loom context default mentioned", "as it was")),
    )


# -- undo ------------------------------------------------------------------------------------------------


async def _undo(bench: "Workbench", words: list[str]) -> Card:
    session = session_of(bench)
    if session is None:
        return nothing_yet(bench)
    done = await undo(bench, session, words)
    return Card(
        f"{done.what} is undone: the model is shown it as it was",
        (
            ("conversation", f"{done.before:,} → {done.after:,} tokens"),
            ("still compacted", done.in_force or "nothing"),
        ),
        steps=(
            ("%loom context", "what is sent now"),
            ("%loom context pin m3", "keeps an item from compaction"),
        ),
    )


@dataclass(frozen=True, slots=True)
class Undone:
    """A compaction, or one item of it, that was taken back."""

    what: str
    name: str
    """The compaction."""
    before: int
    """Tokens of the conversation."""
    after: int
    in_force: str
    """The compactions that still count."""
    strategy: str
    changes: tuple[Change, ...]
    """Those that counted: what it takes to have it back."""


async def undo(bench: "Workbench", session: "Session", words: Sequence[str]) -> Undone:
    """Take back a compaction, an item of it, or the latest one: `c1`, `c1 m3`, `m3` or nothing.

    Raises:
        LoomUsageError: there is nothing of that name to undo.
    """
    await session.ledger(agent=bench.plain_agent())
    name = next((word for word in words if _COMPACTION.fullmatch(word)), "")
    items = [word for word in words if _ITEM.fullmatch(word)]
    wrong = [word for word in words if word != name and word not in items]
    if wrong or len(items) > 1:
        raise LoomUsageError(
            f"%loom compact undo takes a compaction and an item, not {' '.join(words)!r}",
            fixes=["%loom compact undo", "%loom compact undo c1", "%loom compact undo c1 m3"],
        )
    before = session.view.tokens
    first = None
    if items:
        name, first = change_of(session, name, items[0])
    known, counting = dict(session.view.compactions), session.view.counting()
    undone = await session.undo_compaction(name, first=first)
    changes = [one for one in counting.get(undone.id, ()) if first is None or one.first == first]
    return Undone(
        undone.id if first is None else f"{items[0]} of {undone.id}",
        undone.id,
        before,
        session.view.tokens,
        ", ".join(_named(session.view)),
        known[undone.id].strategy,
        tuple(changes),
    )


def change_of(session: "Session", name: str, item: str) -> tuple[str, int]:
    """The compaction and the change that a message is part of. Raises LoomUsageError where there is none."""
    number, _ = _numbers(item, len(session.conversation))
    for known, changes in reversed(session.view.counting().items()):
        for change in changes:
            if name in ("", known) and change.first <= number <= change.last:
                return known, change.first
    where = f"by {name}" if name else "by any compaction in force"
    raise LoomUsageError(f"{item} was not shortened {where}", fixes=["%loom context", "%loom compact undo"])


# -- two runs --------------------------------------------------------------------------------------------


async def _diff(bench: "Workbench", words: list[str]) -> Card:
    if len(words) != 2:
        raise LoomUsageError(
            "%loom context diff takes two runs", fixes=["%loom context diff r1 r2", "%loom runs"]
        )
    one, other = (bench.find_run(word, "%loom context diff {}") for word in words)
    if one.session != other.session:
        raise LoomUsageError(
            f"{words[0]} and {words[1]} are runs of different conversations",
            cause=f"{one.session} and {other.session}",
        )
    entries = [*bench.store.read(one.session), *_pending(bench, one.session)]
    return difference_card(*(first_request(entries, row.run) for row in (one, other)))


def first_request(entries: Iterable[LogEntry], run: str) -> FirstRequest:
    """What a run's first model call was given, folded from the log of its session."""
    from loom_nb.runtime.ledger import Ledger
    from loom_nb.runtime.past_ledger import past_request

    entries = list(entries)
    past = past_request(entries, run, 1) or past_request(entries, run)
    if past is None:
        return FirstRequest(run, "", Ledger(()))
    return FirstRequest(run, past.model, past.ledger, past.head_known)


# -- a request that was sent -----------------------------------------------------------------------------


def _past(bench: "Workbench", run: str, number: str | None, *, whole: bool = False) -> Card:
    """What a request of an earlier run was made of: the one of this number, or its last one."""
    from loom_nb.runtime.past_ledger import past_request

    row = bench.find_run(run, "%loom context {}")
    entries = [*bench.store.read(row.session), *_pending(bench, row.session)]
    past = past_request(entries, row.run, int(number) if number else None)
    if past is None:
        last = past_request(entries, row.run)
        count = last.turns if last is not None else 0
        raise LoomUsageError(
            f"{row.run} has no request {number}",
            cause=f"it has sent {count}",
            fixes=[f"%loom context {row.run}.{count}"] if count else ["%loom runs"],
        )
    if not past.turn:
        return Card(f"{row.run} has sent no request", steps=(("%loom runs", "everything that ran"),))
    setting = Setting(
        past.model,
        compactions=tuple(_named(past.view)),
        pinned=len(past.view.pinned),
        hidden=len(past.view.hidden),
        past=Past(row.run, past.turn, past.turns, past.head_known),
    )
    return ledger_card(past.ledger, setting, whole=whole, ascii=bench.settings.ascii)


def _pending(bench: "Workbench", session: str) -> list[LogEntry]:
    """What the open session has said since its last commit."""
    current = bench.session
    if current is None or current.id != session:
        return []
    kept = {entry.seq for entry in bench.store.read(session)}
    return [entry for entry in current.events() if entry.seq not in kept]


# -- small pieces ----------------------------------------------------------------------------------------


def session_of(bench: "Workbench") -> "Session | None":
    """The conversation of now, where there is one. Raises LoomUsageError while a run of it goes on."""
    session = bench.session
    if session is not None:
        busy = [run.id for run in bench.running if run.session_id == session.id and not run.done]
        if busy:
            raise LoomUsageError(
                f"{busy[0]} has not ended",
                cause="what the model is shown is looked at and changed between two runs",
                fixes=["%loom stop", "run this cell again when it has ended"],
            )
    return session


def nothing_yet(bench: "Workbench") -> Card:
    """Where there is no conversation: how to begin one, or go on with an earlier one."""
    earlier = bench.earlier()
    back = (
        ((f"%%loom --continue {earlier.session}/{earlier.run}", "goes on with what was said earlier here"),)
        if earlier is not None
        else ()
    )
    return Card(
        "there is no conversation yet, and so no context",
        steps=(
            *back,
            ("%%loom", "and a prompt below it: begins one"),
            ("%%loom -n", "and a prompt below it: what would be sent"),
        ),
    )


def _numbers(word: str, count: int) -> tuple[int, int]:
    """The first and the last message of an item, counted from 0."""
    named = _ITEM.fullmatch(word)
    first = int(named[1]) - 1 if named else -1
    last = int(named[3]) - 1 if named and named[3] else first
    if not 0 <= first <= last < count:
        raise LoomUsageError(
            f"there is no message '{word}'",
            cause=f"this conversation has m1 to m{count}" if count else "this conversation is empty",
            fixes=["%loom context"],
        )
    return first, last


def _range(word: str, count: int) -> range:
    if word.startswith("tool:") or word == "instructions":
        raise LoomUsageError(
            f"{word} is no message: it cannot be pinned or hidden",
            cause="instructions and tools are never compacted; what is not to be offered is left out of -t",
        )
    first, last = _numbers(word, count)
    return range(first, last + 1)


def _which(verb: str) -> LoomUsageError:
    return LoomUsageError(
        f"%loom context {verb} which item?", fixes=[f"%loom context {verb} m1", "%loom context lists them"]
    )


def _no_more(verb: str, words: list[str]) -> None:
    if words:
        raise LoomUsageError(f"%loom context {verb}takes nothing more, not {' '.join(words)!r}")


VERBS: dict[str, Verb] = {
    "": _ledger,
    "all": _all,
    "show": _show,
    "pin": _marker("pin", "pinned"),
    "hide": _marker("hide", "hidden"),
    "drop": _marker("drop", "hidden"),
    "unpin": _marker("unpin", None),
    "unhide": _marker("unhide", None),
    "free": _marker("free", None),
    "budget": _budget,
    "default": _default,
    "diff": _diff,
}
"""What may stand behind `%loom context`."""
