"""The table of `%loom context`: the ledger as rows, and what can be done to them.

Its actions are those of the lines `%loom context pin`, `hide`, … and `%loom compact undo`: the same
functions carry them out, and a receipt says which line takes them back.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loom_nb.errors import LoomUsageError
from loom_nb.events import Change, Mark
from loom_nb.notebook import contexts
from loom_nb.notebook.card import Card
from loom_nb.notebook.context_cards import Setting, is_stale, ledger_card, stale_items, told_of
from loom_nb.notebook.render.strict_markdown import visible
from loom_nb.notebook.table import Action, Bar, Column, Contents, Details, Receipt, Row, Segment
from loom_nb.runtime.ledger import SECTIONS, Item, Ledger
from loom_nb.wording import percent

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench
    from loom_nb.runtime.session import Session

STALE = 5
"""Stale items whose reasons stand above the table."""
COLUMNS = (
    Column("item", "item", 8.8),
    Column("section", "section", 6.2, choose=True, swatch=True),
    Column("kind", "kind", 5),
    Column("words", "words"),
    Column("tokens", "tokens", 7.2, number=True),
    Column("share", "share", 5.2, number=True),
    Column("from", "from", 6.7),
    Column("state", "state", 6.2, choose=True),
    Column("by", "by", 2.8),
)
ACTIONS = (
    Action("pin", "Pin", "keeps it from compaction", "p"),
    Action("unpin", "Unpin", "compaction may take it again", "p"),
    Action("hide", "Hide", "keeps it from the model", "h"),
    Action("unhide", "Show again", "the model is shown it again", "h"),
    Action("restore", "Restore", "undoes the compaction of this item: it is sent as it was", "u"),
    Action("undo", "Undo compaction", "undoes the whole compaction that changed this item", "U"),
)
MARKS: Mapping[str, Mark | None] = {"pin": "pinned", "hide": "hidden", "unpin": None, "unhide": None}
SHORTER = frozenset({"shortened", "stands for others", "left out"})
"""States of items that a compaction has changed."""


# -- the ledger as rows ----------------------------------------------------------------------------------


def contents_of(ledger: Ledger, setting: Setting, marks: Mapping[int, Mark], card: Card) -> Contents:
    """The table of a ledger.

    Args:
        ledger: of the next request.
        setting: of its budget.
        marks: what is pinned and hidden, by the number of a message.
        card: the same in print.
    """
    return Contents(
        card=card,
        title=card.title,
        caption="in the order of the request",
        columns=COLUMNS,
        rows=tuple(_rows(ledger, marks)),
        noun=("item", "items"),
        facts=(*told_of(ledger, setting), *_stale(ledger)),
        bar=bar_of(ledger, setting),
        actions=ACTIONS,
    )


def _stale(ledger: Ledger) -> Iterator[tuple[str, str]]:
    """The reasons of the first few that are stale; the others tell theirs when they are opened."""
    found = stale_items(ledger)
    for name, _, why in found[:STALE]:
        yield "stale", f"{name}: {why}"
    if len(found) > STALE:
        yield "stale", f"{len(found) - STALE:,} more: open an item to read why"


def _rows(ledger: Ledger, marks: Mapping[int, Mark]) -> Iterator[Row]:
    known: dict[str, int] = {}
    whole = ledger.tokens
    for place, item in enumerate(ledger.items):
        many = known[item.name] = known.get(item.name, 0) + 1
        yield _row(item, place, whole, marks, f"{item.name}#{many}" if many > 1 else item.name)


def _row(item: Item, place: int, whole: int, marks: Mapping[int, Mark], name: str) -> Row:
    share = item.tokens / max(whole, 1)
    marked = _marked(item, marks)
    return Row(
        name,
        (
            item.name, item.section, item.kind, item.words,
            f"{item.tokens:,} of {item.whole:,}" if item.whole else f"{item.tokens:,}",
            _small(share), item.origin, _state(item, marked), _by(item),
        ),
        {0: place, 1: SECTIONS.index(item.section), 4: item.tokens, 5: share},
        _can(item, marked),
        SECTIONS.index(item.section) + 1,
        why="" if marked else "instructions and tools are no messages: they are always sent",
        quiet=item.state in ("hidden", "left out"),
    )  # fmt: skip


def _small(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.0005 else f"{share:.1%}".replace("%", " %")


def _marked(item: Item, marks: Mapping[int, Mark]) -> list[Mark | None]:
    """How each message of an item is marked; none for instructions and tools."""
    return [marks.get(number) for number in _numbers(item.name)] if item.section == "history" else []


def _numbers(name: str) -> range:
    """The messages that an item is, or stands for, counted from 0: `m3`, `m3.2`, `m3-m9`."""
    first, _, last = name.partition(".")[0].partition("-")
    return range(int(first[1:]) - 1, int((last or first)[1:]))


def _state(item: Item, marked: Sequence[Mark | None]) -> str:
    if item.state in SHORTER and all(marked):  # what a person said stands, whatever a compaction did
        return f"{item.state}, {marked[0]}"
    return f"{item.state}, stale" if is_stale(item) else item.state


def _by(item: Item) -> str:
    if item.state in ("pinned", "hidden"):
        return "you"
    return item.by if item.state in SHORTER else ""


def _can(item: Item, marked: Sequence[Mark | None]) -> frozenset[str]:
    able = {
        "pin": any(mark != "pinned" for mark in marked),
        "unpin": "pinned" in marked,
        "hide": any(mark != "hidden" for mark in marked),
        "unhide": "hidden" in marked,
        "restore": item.state in SHORTER and bool(item.by),
        "undo": item.state in SHORTER and bool(item.by),
    }
    return frozenset(name for name, is_able in able.items() if is_able)


def bar_of(ledger: Ledger, setting: Setting) -> Bar:
    """The sections side by side, against the budget where there is one."""
    size = max(ledger.budget or 0, ledger.tokens, 1)
    segments = [
        Segment(name, tokens, f"{tokens:,} tokens ({percent(tokens / size)})", SECTIONS.index(name) + 1)
        for name, tokens in ledger.sections().items()
    ]
    if not ledger.budget:
        return Bar(f"{ledger.tokens:,} tokens, estimated", tuple(segments))
    free = max(0, ledger.budget - ledger.tokens)
    segments.append(Segment("free", free, f"{free:,} tokens ({percent(free / size)})"))
    label = f"{ledger.tokens:,} of {ledger.budget:,} tokens, estimated"
    words = f"compaction from {percent(setting.first)} on" if setting.first else ""
    return Bar(label, tuple(segments), setting.first * ledger.budget / size, words)


# -- what stands behind the table ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContextRows:
    """The context of one conversation, as a `Source`.

    Args:
        bench: whose conversation it is.
        session_id: of the conversation; once another one is open, the table stays as it was.
        whole: its card prints every item.
    """

    bench: "Workbench"
    session_id: str
    whole: bool = False

    def state(self) -> Hashable:
        """Differs when the ledger does: the conversation, what is marked and compacted, the budget."""
        session = self.bench.session
        if session is None or session.id != self.session_id:
            return None
        view = session.view
        return (
            len(session.conversation),
            tuple((name, len(one.changes)) for name, one in view.compactions.items()),
            tuple(view.marks.items()),
            self.bench.context_budget,
            self.bench.model_name,
        )

    async def contents(self) -> Contents:
        """The ledger of now. Raises LoomUsageError while a run goes on."""
        session = self._session()
        ledger, setting = await contexts.ledger_of(self.bench, session)
        card = ledger_card(ledger, setting, whole=self.whole, ascii=self.bench.settings.ascii)
        return contents_of(ledger, setting, session.view.marks, card)

    async def details(self, row: str) -> Details:
        """An item as it is sent, and as it was."""
        name = row.partition("#")[0]
        whole = await contexts.in_full(
            self.bench, self._session(), name.partition(".")[0] if "-" in name else name
        )
        texts = [("as it is sent", whole.sent), *((("as it was", whole.was),) if whole.was else ())]
        return Details(whole.told, tuple(texts))

    async def act(self, action: str, rows: Sequence[str], text: str) -> Receipt:
        """Pin, hide, show or restore items."""
        session = self._session()
        names = list(dict.fromkeys(row.partition("#")[0].partition(".")[0] for row in rows))
        if action in MARKS:
            return await self._mark(session, names, MARKS[action])
        if action == "restore":
            return await self._restored(session, names)
        return await self._taken_out(session, [contexts.change_of(session, "", name)[0] for name in names])

    def _session(self) -> "Session":
        session = contexts.session_of(self.bench)
        if session is None or session.id != self.session_id:
            raise LoomUsageError("this table is of an earlier conversation", fixes=["%loom context"])
        return session

    # -- marks -------------------------------------------------------------------------------------

    async def _mark(self, session: "Session", names: Sequence[str], to: Mark | None) -> Receipt:
        before = {
            number: session.view.marks.get(number) for name in names for number in _numbers(name)
        }  # fmt: skip
        done = await contexts.mark(self.bench, session, names, to)
        before = {number: before[number] for number in done.numbers}
        words = f"{said(done.numbers)} {done.fate}"
        return Receipt(
            _receipt(words, done.before, done.after, done.notes),
            tuple(_lines(before)),
            self._back(before, dict.fromkeys(done.numbers, to)),
        )

    def _back(
        self, before: Mapping[int, Mark | None], now: Mapping[int, Mark | None]
    ) -> "Callable[[], Awaitable[Receipt]]":
        """Marks messages as they were, as long as nobody has marked them otherwise since."""

        async def back() -> Receipt:
            session = self._session()
            if any(session.view.marks.get(number) != mark for number, mark in now.items()):
                raise LoomUsageError(
                    f"{said(list(now))} was marked otherwise since", fixes=list(_lines(before))[:3]
                )
            tokens = session.view.tokens
            for mark, numbers in _by_mark(before).items():
                await contexts.mark(self.bench, session, [f"m{number + 1}" for number in numbers], mark)
            words = f"taken back: {said(list(before))} {'are' if len(before) > 1 else 'is'} as before"
            return Receipt(
                _receipt(words, tokens, session.view.tokens), tuple(_lines(now)), self._back(now, before)
            )

        return back

    # -- compactions -------------------------------------------------------------------------------

    async def _restored(self, session: "Session", names: Sequence[str]) -> Receipt:
        """Undo whatever shortens items, and what comes to light below that."""
        before = session.view.tokens
        numbers = [number for name in names for number in _numbers(name)]
        done = []
        for number in numbers:
            while by := _by_what(session, number):
                done.append(await contexts.undo(self.bench, session, [by, f"m{number + 1}"]))
        words = f"{said(numbers)} {'are' if len(numbers) > 1 else 'is'} sent as before it was compacted"
        return self._undone(session, done, words, before)

    async def _taken_out(self, session: "Session", compactions: Sequence[str]) -> Receipt:
        """Undo whole compactions."""
        before = session.view.tokens
        known = list(dict.fromkeys(compactions))
        done = [await contexts.undo(self.bench, session, [name]) for name in known]
        words = f"{' and '.join(known)} {'are' if len(known) > 1 else 'is'} undone"
        return self._undone(session, done, words, before)

    def _undone(
        self, session: "Session", done: Sequence[contexts.Undone], words: str, before: int
    ) -> Receipt:
        whole: dict[str, list[Change]] = {}
        for one in done:
            whole.setdefault(one.name, []).extend(one.changes)
        strategies = {one.name: one.strategy for one in done}
        undone = [(name, tuple(whole[name])) for name in sorted(whole, key=_age)]
        ladder = [step.compaction.name for step in self.bench.runtime().context.ladder]
        lines = [f"%loom compact {name}" for name in ladder if name in strategies.values()]
        words = _receipt(words, before, session.view.tokens)
        return Receipt(words, tuple(lines), self._again(undone, self.state()))

    def _again(
        self, undone: Sequence[tuple[str, tuple[Change, ...]]], now: Hashable
    ) -> "Callable[[], Awaitable[Receipt]]":
        """Compacts again what was undone, oldest first, as long as nothing else has changed since."""

        async def again() -> Receipt:
            session = self._session()
            if self.state() != now:
                raise LoomUsageError("the context has changed since", fixes=["%loom compact"])
            before = session.view.tokens
            made = [await session.compact_again(name, changes) for name, changes in undone]
            names = [one.id for one in made if one is not None]
            words = _receipt(f"taken back: compacted as {', '.join(names)}", before, session.view.tokens)
            lines = tuple(f"%loom compact undo {name}" for name in reversed(names))
            return Receipt(words, lines, lambda: self._taken_out(self._session(), names))

        return again


def _by_what(session: "Session", number: int) -> str:
    """The newest compaction that changes a message; empty where there is none."""
    for name, changes in reversed(session.view.counting().items()):
        if any(change.first <= number <= change.last for change in changes):
            return name
    return ""


def _age(compaction: str) -> int:
    return int(compaction[1:])


def _receipt(words: str, before: int, after: int, notes: Sequence[str] = ()) -> str:
    more = f"{abs(after - before):,} {'more' if after > before else 'fewer'}"
    tokens = f"conversation {before:,} → {after:,} tokens" + (f", {more}" if after != before else "")
    several = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
    return visible(" · ".join([words, tokens, *(f"{note}{several}" for note in notes[:1])]))


def said(numbers: Sequence[int]) -> str:
    """Messages by name, in few words: ``m1, m3-m9``; ``40 messages``."""
    parts = _ranges(numbers)
    return ", ".join(parts) if len(parts) <= 4 else f"{len(numbers):,} messages"


def _ranges(numbers: Sequence[int]) -> list[str]:
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [f"m{low + 1}" if low == high else f"m{low + 1}-m{high + 1}" for low, high in runs]


def _lines(marks: Mapping[int, Mark | None]) -> Iterator[str]:
    """What to type so that messages are marked so."""
    verbs: dict[Mark | None, str] = {"pinned": "pin", "hidden": "hide", None: "free"}
    for mark, numbers in _by_mark(marks).items():
        yield f"%loom context {verbs[mark]} {' '.join(_ranges(numbers)[:10])}"


def _by_mark(marks: Mapping[int, Mark | None]) -> dict[Mark | None, list[int]]:
    groups: dict[Mark | None, list[int]] = {}
    for number, mark in marks.items():
        groups.setdefault(mark, []).append(number)
    return groups
