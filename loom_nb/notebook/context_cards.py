"""What a person sees of the context: the ledger of a request, an item, a compaction, two requests compared.

Pure: values go in, a card comes out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loom_nb.events import ContextCompacted
from loom_nb.messages import (
    DataPart,
    ImagePart,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from loom_nb.notebook.card import Card, Drawn, Table
from loom_nb.notebook.render import compactions, facts, html_blocks, text
from loom_nb.notebook.render.facts import Glyphs
from loom_nb.notebook.render.strict_markdown import PRE, escape, visible
from loom_nb.notebook.transcript import Compacted
from loom_nb.runtime.ledger import Item, Ledger, Section
from loom_nb.wording import counted, percent

HEAD, TAIL = 20, 40
"""Rows that are shown of a long table: the first ones and the last ones."""
BAR = 60
"""Columns of a bar as text."""
WORDS = 100
WHOLE = 50_000
"""Characters of an item that are shown."""

_COLOURS: dict[Section, str] = {
    "system": "#4a7fd1",
    "tools": "#8e62c9",
    "memory": "#1f8a8a",
    "skill": "#c26a1b",
    "working": "#b8860b",
    "history": "#2e9e5b",
}
"""Three to one on white and on black."""
_BLOCKS: dict[Section, str] = {
    "system": "█",
    "tools": "▓",
    "memory": "▚",
    "skill": "▞",
    "working": "▒",
    "history": "░",
}
_LETTERS: dict[Section, str] = {
    "system": "#",
    "tools": "%",
    "memory": "m",
    "skill": "k",
    "working": "w",
    "history": "=",
}
_EDGE = "rgba(128,128,128,0.35)"


# -- the ledger ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Past:
    """Which request of which run it is, where it was sent long ago."""

    run: str
    turn: int
    turns: int
    head_known: bool = True
    """The log keeps what stood before the conversation."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of the budget besides the ledger."""

    model: str
    own: bool = False
    """The budget was set in this notebook; otherwise it is the model's window."""
    first: float = 0.0
    """The pressure from which on the context is compacted; 0 where it never is."""
    compactions: tuple[str, ...] = ()
    """That count, with the names of their strategies."""
    pinned: int = 0
    """Messages."""
    hidden: int = 0
    past: Past | None = None
    """None: it is the next request."""


def ledger_card(
    ledger: Ledger,
    setting: Setting,
    *,
    whole: bool = False,
    ascii: bool = False,  # noqa: A002  the name of the option
) -> Card:
    """What the next request is made of.

    Args:
        ledger: of the next request.
        setting: of its budget.
        whole: every item, however many there are.
        ascii: bars as text without a mark that is not ASCII.
    """
    told = told_of(ledger, setting)
    rows = tuple(_capped(list(_rows(ledger.items, whole=whole)), whole=whole))
    table = Table(
        "in the order of the request",
        COLUMNS,
        rows,
        numbers=frozenset({3}),
        only_html=frozenset({1}),
        one_line=True,
    )
    return Card(
        _title(setting),
        tuple(told),
        (table, *_stale(ledger)),
        steps=_steps(ledger, setting),
        drawn=(Drawn(_bar_text(ledger, ascii=ascii), _bar_html(ledger)),),
    )


COLUMNS = ("item", "section", "kind", "tokens", "from", "state", "words")


def _title(setting: Setting) -> str:
    past = setting.past
    if past is None:
        return "context: what the next request is made of"
    return f"context: what request {past.turn:,} of {past.turns:,} of {visible(past.run)} was made of"


def _stale(ledger: Ledger) -> Iterator[Table]:
    """What is not what it was when the model was given it, and why; nothing where all is."""
    rows = stale_items(ledger)
    more = [("…", f"{len(rows) - TAIL:,} more", "%loom context show ITEM")] if len(rows) > TAIL else []
    if rows:
        columns = ("item", "what", "why")
        yield Table("stale: the notebook has changed since", columns, (*rows[:TAIL], *more))


def told_of(ledger: Ledger, setting: Setting) -> Iterator[tuple[str, str]]:
    """What is said above the items: (name, value) pairs."""
    if setting.past is None:
        yield "next request", f"about {ledger.tokens:,} tokens and its prompt, from a cell without flags"
    else:
        yield "sent", f"about {ledger.tokens:,} tokens, to {visible(setting.model)}"
        if not setting.past.head_known:
            yield "note", "instructions and tools are not told: this log was written before they were kept"
    if ledger.counted:
        yield "counted", f"{ledger.counted:,} tokens: the last request and its answer, as the model told"
    yield "budget", _budget(ledger, setting)
    if ledger.budget:
        yield "pressure", _pressure(ledger, ledger.budget, setting)
    if setting.compactions:
        yield "compacted", visible(", ".join(setting.compactions))
    yield "by you", f"{counted(setting.hidden, 'message')} hidden, {setting.pinned:,} pinned"


def _budget(ledger: Ledger, setting: Setting) -> str:
    if ledger.budget is None and setting.past is not None:
        return "was not known"
    if ledger.budget is None:
        return (
            f"not known: {visible(setting.model)} does not tell its window; %loom context budget 40k sets one"
        )
    if setting.past is not None:
        return f"{ledger.budget:,} tokens"
    whose = "set in this notebook" if setting.own else f"the window of {visible(setting.model)}"
    return f"{ledger.budget:,} tokens, {whose}"


def used(ledger: Ledger) -> int:
    """Tokens that count for the pressure: the vendor's own count where there is one."""
    return ledger.counted or ledger.tokens


def _pressure(ledger: Ledger, budget: int, setting: Setting) -> str:
    whose = " as the model counts" if ledger.counted else ""
    share = f"{percent(used(ledger) / budget)}{whose}"
    return f"{share}; from {percent(setting.first)} on it is compacted" if setting.first else share


def _steps(ledger: Ledger, setting: Setting) -> tuple[tuple[str, str], ...]:
    if setting.past is not None:
        run, first = visible(setting.past.run), f"%loom context {visible(setting.past.run)}.1"
        return (
            *(((first, "its first request"),) if setting.past.turn > 1 else ()),
            (f"%loom context {run} all", "every item"),
            ("%loom context", "what would be sent now"),
        )
    example = next((one for one in ledger.items if one.section == "history"), None)
    name = example.name.partition(".")[0] if example is not None else "m1"
    return (
        (f"%loom context show {name}", "the whole of an item"),
        (f"%loom context hide {name}", "keeps it from the model; pin keeps it from compaction"),
        ("%loom compact --preview", "what could be shown in a shorter form"),
        *((("%loom context budget 40k", "sets how much may be sent"),) if ledger.budget is None else ()),
    )


def _rows(items: Sequence[Item], *, whole: bool) -> Iterator[tuple[str, ...]]:
    out: list[Item] = []
    for item in items:
        if item.state == "left out" and not whole:
            out.append(item)
            continue
        yield from _left_out(out)
        out = []
        yield _row(item)
    yield from _left_out(out)


def _row(item: Item) -> tuple[str, ...]:
    return (
        item.name, item.section, item.kind, _tokens(item),
        facts.clipped(item.origin, 24), state(item), facts.clipped(item.words, WORDS),
    )  # fmt: skip


def _tokens(item: Item) -> str:
    return f"{item.tokens:,} of {item.whole:,}" if item.whole else f"{item.tokens:,}"


def state(item: Item) -> str:
    """``sent``, ``shortened by c1``, ``left out by c1``, ``hidden by you``; ``sent, stale``."""
    return _fate_word(item) + (", stale" if is_stale(item) else "")


def stale_items(ledger: Ledger) -> list[tuple[str, str, str]]:
    """(item, what it comes from, why it is stale) of all that are."""
    return [
        (one.name, facts.clipped(one.source, 40), facts.clipped(one.stale, 160))
        for one in ledger.items
        if is_stale(one)
    ]


def is_stale(item: Item) -> bool:
    """Whether it is sent and is not what it was when the model was given it."""
    return bool(item.stale) and item.state not in ("hidden", "left out")


def _fate_word(item: Item) -> str:
    match item.state:
        case "hidden":
            return "hidden by you"
        case "pinned":
            return "pinned"
        case "stands for others":
            return f"stands for {item.name}"
        case "sent":
            return "sent"
        case word:
            return f"{word} by {item.by}" if item.by else word


def _left_out(items: Sequence[Item]) -> Iterator[tuple[str, ...]]:
    """Several items that are left out, in one row."""
    if not items:
        return
    first, last = items[0].name.partition(".")[0], items[-1].name.partition(".")[0]
    name = first if first == last else f"{first}-{last}"
    was = sum(item.whole for item in items)
    several = counted(len(items), "item")
    yield (name, "history", several, f"0 of {was:,}", "", state(items[0]), f"%loom context show {name}")


def _capped(rows: list[tuple[str, ...]], *, whole: bool) -> Iterator[tuple[str, ...]]:
    left = len(rows) - HEAD - TAIL
    if whole or left <= 1:
        yield from rows
        return
    yield from rows[:HEAD]
    yield ("…", "", f"{left:,} more", "", "", "", "%loom context all")
    yield from rows[-TAIL:]


# -- bars ------------------------------------------------------------------------------------------------


def _bar_text(ledger: Ledger, *, ascii: bool) -> str:  # noqa: A002  the name of the option
    marks = _LETTERS if ascii else _BLOCKS
    sections, size = ledger.sections(), max(ledger.budget or 0, ledger.tokens, 1)
    bar, done = "", 0
    for section, tokens in sections.items():
        done += tokens
        bar += marks[section] * max(1, round(done / size * BAR) - len(bar))
    free = "." if ascii else "·"
    wide = max((len(name) for name in sections), default=0)
    lines = [
        f"  {marks[section]} {section:<{wide}}  {tokens:>9,} tok  {_share(tokens, ledger):>6}"
        for section, tokens in sections.items()
    ]
    if ledger.budget:
        left = max(0, ledger.budget - ledger.tokens)
        lines.append(f"  {free} {'free':<{wide}}  {left:>9,} tok")
    return "\n".join([f"  [{bar[:BAR]:{free}<{BAR}}] {_of(ledger)}", *lines])


def _share(tokens: int, ledger: Ledger) -> str:
    return percent(tokens / max(ledger.tokens, 1))


def _of(ledger: Ledger) -> str:
    if not ledger.budget:
        return f"{ledger.tokens:,} tokens"
    return f"{ledger.tokens:,} of {ledger.budget:,} tokens"


def _bar_html(ledger: Ledger) -> str:
    sections, size = ledger.sections(), max(ledger.budget or 0, ledger.tokens, 1)
    parts = "".join(
        f'<div title="{section}: {tokens:,} tokens" style="float:left;height:100%;'
        f'width:{tokens / size * 100:.2f}%;background:{_COLOURS[section]}"></div>'
        for section, tokens in sections.items()
    )
    legend = [
        f'<span style="color:{_COLOURS[section]}">■</span> <strong>{section}</strong> '
        f"{tokens:,} ({_share(tokens, ledger)})"
        for section, tokens in sections.items()
    ]
    if ledger.budget:
        legend.append(f"□ <strong>free</strong> {max(0, ledger.budget - ledger.tokens):,}")
    told = " · ".join([*legend, f"{_of(ledger)}, estimated"])
    return (
        f'<div title="{_of(ledger)}" style="height:1.2em;margin:0.5em 0 0.3em 0;overflow:hidden;'
        f'border:1px solid {_EDGE};border-radius:4px;background:rgba(128,128,128,0.12)">{parts}</div>'
        f'<div style="margin:0 0 0.8em 0;font-size:0.95em">{told}</div>'
    )


# -- one item --------------------------------------------------------------------------------------------


def item_card(
    name: str,
    sent: str,
    was: str = "",
    *,
    told: tuple[tuple[str, str], ...] = (),
    steps: tuple[tuple[str, str], ...] = (),
) -> Card:
    """The whole of an item.

    Args:
        name: how it is typed.
        sent: what is sent of it.
        was: what it is, where less or something else of it is sent.
        told: facts of it.
        steps: what to type next.
    """
    parts = [_whole("as it is sent" if was else "", sent)]
    if was:
        parts.append(_whole("as it was", was))
    return Card(f"context: {name}", told, steps=steps, drawn=tuple(parts))


def _whole(label: str, content: str) -> Drawn:
    shown, left = visible(content[:WHOLE]), len(content) - WHOLE
    note = f"\n… {left:,} more characters" if left > 0 else ""
    title = f"<div><strong>{escape(label)}</strong></div>" if label else ""
    lines = [text.folded(f"  | {line}".rstrip(), hanging="  | ") for line in (shown + note).split("\n")]
    return Drawn(
        "\n".join([f"  {label}:", *lines] if label else lines),
        f'{title}<pre style="{PRE};white-space:pre-wrap;overflow-wrap:break-word;max-height:30em">'
        f"{escape(shown + note)}</pre>",
    )


def content(message: Message) -> str:
    """A message as a person reads it: each part with what it is and where it comes from."""
    return "\n\n".join(_part(part) for part in message.parts)


def _part(part: object) -> str:
    match part:
        case TextPart():
            return f"[text, from {part.origin}]\n{part.text}"
        case ThinkingPart():
            return f"[thinking, from {part.origin}]\n{part.text}"
        case DataPart():
            return f"[data {part.name}, from {part.origin}]\n{part.text}"
        case ToolCallPart():
            return f"[call of {part.name}, {part.id}]\n{part.arguments}"
        case ToolResultPart():
            inner = "\n".join(_part(one) for one in part.parts)
            return f"[{'error' if part.is_error else 'result'} of {part.name}, {part.call_id}]\n{inner}"
        case ImagePart():
            return f"[image {part.name}, {part.media_type}, {len(part.data):,} bytes]"
        case _:
            return "[a file]"


# -- compactions -----------------------------------------------------------------------------------------


def compact_card(
    taken: Sequence[ContextCompacted],
    *,
    preview: bool = False,
    ascii: bool = False,  # noqa: A002  the name of the option
) -> Card:
    """What was compacted, or would be, in two columns."""
    marks = facts.glyphs(ascii)
    before, after = taken[0].tokens_before, taken[-1].tokens_after
    numbers = f"{before:,} {marks.arrow} {after:,} tokens of conversation"
    title = f"preview, nothing was changed: {numbers}" if preview else f"from the next request on: {numbers}"
    undo = [
        (f"%loom compact undo {one.id}", f"takes {visible(one.strategy)} back") for one in reversed(taken)
    ]
    steps = [("%loom compact", "does it")] if preview else [*undo, ("%loom context", "what is sent now")]
    blocks = [Compacted.of(one) for one in taken]
    drawn = tuple(_drawn(block, marks, preview=preview, opened=n == 0) for n, block in enumerate(blocks))
    return Card(title, steps=tuple(steps), drawn=drawn)


def _drawn(block: Compacted, marks: Glyphs, *, preview: bool, opened: bool) -> Drawn:
    if preview:
        block = compactions.tentative(block)
    return Drawn(text.compacted(block, marks), html_blocks.compacted(block, opened=opened))


# -- two requests ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FirstRequest:
    """The first request of a run."""

    run: str
    model: str
    ledger: Ledger
    head_known: bool = True
    """The log keeps what stood before the conversation."""


def difference_card(one: FirstRequest, other: FirstRequest) -> Card:
    """What the first request of a run has that another one's had not, and the other way round."""
    before = {item.name: item for item in one.ledger.items}
    after = {item.name: item for item in other.ledger.items}
    added = [item for item in other.ledger.items if item.name not in before and item.state != "left out"]
    changed = [item for item in one.ledger.items if not _same(item, after.get(item.name))]
    told = [
        (first.run, f"{first.ledger.tokens:,} tokens{_unknown(first)}, to {visible(first.model)}")
        for first in (one, other)
    ]
    return Card(
        f"context: from the first request of {one.run} to that of {other.run}",
        tuple(told),
        (
            Table(
                f"in {other.run} and not in {one.run}",
                ("item", "kind", "tokens", "from", "state", "words"),
                _some([_added(item) for item in added]),
                numbers=frozenset({2}),
                one_line=True,
            ),
            Table(
                f"in {one.run}, and otherwise in {other.run}",
                ("item", "kind", "tokens", f"in {one.run}", f"in {other.run}", "words"),
                _some([_changed(item, after.get(item.name)) for item in changed]),
                numbers=frozenset({2}),
                one_line=True,
            ),
        ),
    )


def _unknown(first: FirstRequest) -> str:
    return "" if first.head_known else " of conversation (instructions and tools: its log does not keep them)"


def _fate(item: Item | None) -> tuple[int, str]:
    return (item.tokens, state(item)) if item is not None else (0, "")


def _same(one: Item, other: Item | None) -> bool:
    return _fate(one) == _fate(other) and (other is None or one.sha256 == other.sha256)


def _added(item: Item) -> tuple[str, ...]:
    origin, words = facts.clipped(item.origin, 40), facts.clipped(item.words, WORDS)
    return (item.name, item.kind, f"{item.tokens:,}", origin, state(item), words)


def _changed(item: Item, now: Item | None) -> tuple[str, ...]:
    tokens, fate = _fate(now)
    words = facts.clipped(item.words, WORDS)
    if now is not None and item.sha256 != now.sha256:
        fate = "sent, with other words"
    return (item.name, item.kind, f"{item.tokens:,} → {tokens:,}", state(item), fate or "not there", words)


def _some(rows: list[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    left = len(rows) - HEAD - TAIL
    if left <= 1:
        return tuple(rows)
    return (*rows[:HEAD], ("…", f"{left:,} more", "", "", "", ""), *rows[-TAIL:])
