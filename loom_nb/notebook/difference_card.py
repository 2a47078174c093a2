"""Two runs side by side, as a person reads them: one set of facts on five surfaces.

Pure: a difference goes in, a card comes out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from loom_nb.notebook.card import Card, Drawn, Table, cut
from loom_nb.notebook.render.markdown import escaped, fenced
from loom_nb.notebook.render.strict_markdown import PRE, escape, visible
from loom_nb.notebook.render.text import wrapped
from loom_nb.runtime.difference import CalledTool, CallPair, Chunk, RunDifference, Side
from loom_nb.settings import money

DIFFERENCE_TYPE = "application/vnd.loom.difference.v1+json"
LONGEST = 20_000
"""Characters of a text that are shown."""
ARGUMENTS = 120
_KNOWN = {"cell": "flags", "mode": "mode"}
_SAYS = {
    "": "same",
    "only left": "only here",
    "only right": "only here",
    "arguments": "other arguments",
    "outcome": "other outcome",
    "result": "other result",
}


@dataclass(frozen=True, slots=True, repr=False)
class DifferenceCard(Card):
    """The card, with the surfaces that only programs and models read."""

    markdown: str = ""
    record: dict[str, Any] | None = None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            "text/plain": str(self),
            "text/markdown": self.markdown,
            "text/html": self.to_html(),
            "text/llm+plain": str(self),
            DIFFERENCE_TYPE: self.record,
        }


def bundle(told: RunDifference) -> dict[str, Any]:
    """How a `RunDifference` is displayed."""
    return difference_card(told)._repr_mimebundle_()


def difference_card(told: RunDifference, *, times: bool = False) -> DifferenceCard:
    """Two runs side by side.

    Args:
        told: the runs.
        times: also how long they took, which differs whenever they run.
    """
    left, right = names(told)
    title = f"{left} and {right}: " + (f"other {', '.join(told.differs)}" if told.differs else "the same")
    rows = tuple(_rows(told, times=times))
    calls = tuple(_call_rows(told.calls, left, right))
    tables = [Table("side by side", ("", left, right, "difference"), rows)]
    if calls:
        tables.append(Table("tools called", ("tool", left, right, "difference"), calls))
    texts = [("prompt", told.prompt), ("answer", told.answer)]
    drawn = tuple(_drawn(name, chunks, left, right) for name, chunks in texts if chunks)
    steps = [(f"%loom show {left}", ""), (f"%loom show {right}", "")]
    if told.left.session == told.right.session:
        steps.insert(0, (f"%loom context diff {left} {right}", "what the model was sent"))
    return DifferenceCard(
        title,
        (),
        tuple(tables),
        steps=tuple(steps),
        drawn=drawn,
        markdown=_markdown(title, tables, texts),
        record=_record(told, times=times),
    )


def names(told: RunDifference) -> tuple[str, str]:
    """What the runs are called: by their ids, and by their conversations too where these differ."""
    left, right = told.left, told.right
    if left.session == right.session:
        return visible(left.run), visible(right.run)
    return visible(f"{left.session}/{left.run}"), visible(f"{right.session}/{right.run}")


# -- rows ------------------------------------------------------------------------------------------------


def _rows(told: RunDifference, *, times: bool) -> Iterator[tuple[str, str, str, str]]:
    left, right = told.left, told.right
    for name, one, other in _facts(left, right, times=times):
        if one or other:
            yield name, one, other, "" if one == other else _change(name, left, right)


def _facts(left: Side, right: Side, *, times: bool) -> Iterator[tuple[str, str, str]]:
    yield "status", _status(left), _status(right)
    yield "model", _model(left), _model(right)
    settings = dict(left.settings), dict(right.settings)
    for name in sorted({*settings[0], *settings[1]}):
        one, other = (visible(cut(here.get(name, ""), ARGUMENTS)) for here in settings)
        yield _KNOWN.get(name, visible(name)), one, other
    data = dict(left.data), dict(right.data)
    for name in sorted({*data[0], *data[1]}):
        yield f"data: {visible(name)}", _size(data[0].get(name)), _size(data[1].get(name))
    yield "model calls", f"{left.turns:,}", f"{right.turns:,}"
    yield "tools called", f"{len(left.calls):,}", f"{len(right.calls):,}"
    yield "tokens in", f"{left.usage.input_tokens:,}", f"{right.usage.input_tokens:,}"
    yield "tokens out", f"{left.usage.output_tokens:,}", f"{right.usage.output_tokens:,}"
    yield "cost", _cost(left), _cost(right)
    if times:
        yield "time", f"{left.seconds:.1f} s", f"{right.seconds:.1f} s"


def _change(name: str, left: Side, right: Side) -> str:
    numbers = {
        "model calls": (left.turns, right.turns),
        "tools called": (len(left.calls), len(right.calls)),
        "tokens in": (left.usage.input_tokens, right.usage.input_tokens),
        "tokens out": (left.usage.output_tokens, right.usage.output_tokens),
    }
    if name in numbers:
        one, other = numbers[name]
        return f"{other - one:+,}"
    if name == "cost" and left.cost is not None and right.cost is not None:
        return f"{'-' if right.cost < left.cost else '+'}{money(abs(right.cost - left.cost))}"
    if name == "time":
        return f"{right.seconds - left.seconds:+.1f} s"
    return "other"


def _status(side: Side) -> str:
    more = " · ".join(visible(cut(word, ARGUMENTS)) for word in (side.fault, side.reason) if word)
    return f"{side.status}: {more}" if more else side.status


def _model(side: Side) -> str:
    own = side.model.partition(":")[2]
    answered = f", answered by {side.answered}" if side.answered not in ("", own, side.model) else ""
    return visible(side.model + answered)


def _size(text: str | None) -> str:
    return "" if text is None else f"{len(text):,} characters, {_digest(text)}"


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _cost(side: Side) -> str:
    if side.cost is None:
        return "not known" if side.usage.total_tokens else money(0)
    return money(side.cost)


def _call_rows(pairs: Sequence[CallPair], left: str, right: str) -> Iterator[tuple[str, str, str, str]]:
    for pair in pairs:
        says = {"only left": f"only {left}", "only right": f"only {right}"}.get(
            pair.difference, _SAYS[pair.difference]
        )
        yield visible(pair.name), _call(pair.left, pair), _call(pair.right, pair), says


def _call(call: CalledTool | None, pair: CallPair) -> str:
    if call is None:
        return ""
    arguments = cut(visible(msgspec.json.encode(call.arguments).decode()), ARGUMENTS)
    outcome = (
        f" → {call.outcome or 'no result'}" if call.outcome != "ok" or pair.difference == "outcome" else ""
    )
    result = f" → {cut(visible(' '.join(call.result.split())), 60)}" if pair.difference == "result" else ""
    return arguments + outcome + result


# -- texts -----------------------------------------------------------------------------------------------


def _drawn(name: str, chunks: Sequence[Chunk], left: str, right: str) -> Drawn:
    """A text with its changes: marked by words of the page and by signs, never by colour alone."""
    if all(chunk.kind == "same" for chunk in chunks):
        shown = _short("".join(chunk.text for chunk in chunks))
        head = f"{name}, the same in both"
        return Drawn(f"{head}\n{_indented(shown)}", f"<h5>{escape(head)}</h5>{_pre(escape(shown))}")
    head = f"{name}: what only {left} has is struck out, what only {right} has is underlined"
    plain = f"{name}: [- only {left} -]  {{+ only {right} +}}"
    return Drawn(f"{plain}\n{_indented(marked(chunks))}", f"<h5>{escape(head)}</h5>{_pre(_html(chunks))}")


def marked(chunks: Sequence[Chunk]) -> str:
    """As text: ``[-old-]{+new+}``."""
    signs = {"same": ("", ""), "gone": ("[-", "-]"), "new": ("{+", "+}")}
    return "".join(signs[one.kind][0] + visible(one.text) + signs[one.kind][1] for one in _limited(chunks))


def _html(chunks: Sequence[Chunk]) -> str:
    tags = {"same": ("", ""), "gone": ("<del>", "</del>"), "new": ("<ins>", "</ins>")}
    return "".join(tags[one.kind][0] + escape(one.text) + tags[one.kind][1] for one in _limited(chunks))


def _pre(html: str) -> str:
    return f'<pre style="{PRE};white-space:pre-wrap;max-height:24em">{html}</pre>'


def _limited(chunks: Sequence[Chunk]) -> Iterator[Chunk]:
    left = LONGEST
    for chunk in chunks:
        if left <= 0:
            yield Chunk("same", "…")
            return
        yield Chunk(chunk.kind, chunk.text[:left])
        left -= len(chunk.text)


def _short(text: str) -> str:
    return visible(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def _indented(text: str) -> str:
    return "\n".join(wrapped(f"  {line}", hanging="  ") for line in text.splitlines())


# -- other surfaces --------------------------------------------------------------------------------------


def _markdown(title: str, tables: Sequence[Table], texts: Sequence[tuple[str, Sequence[Chunk]]]) -> str:
    parts = [f"#### {escaped(title)}"]
    for name, chunks in texts:
        if chunks:
            parts += [f"**{name}**", fenced(marked(chunks))]
    for table in tables:
        rows = [table.columns, ("---",) * len(table.columns), *table.rows]
        lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
        parts += [f"**{table.caption}**", "\n".join(lines)]
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    return text if text == "---" else escaped(" ".join(text.split()))


def _record(told: RunDifference, *, times: bool) -> dict[str, Any]:
    def side(one: Side) -> dict[str, Any]:
        facts = {
            "run": one.run, "session": one.session, "model": one.model, "answered": one.answered,
            "status": one.status, "turns": one.turns, "cost": one.cost, "answer": one.answer,
            "usage": {"input_tokens": one.usage.input_tokens, "output_tokens": one.usage.output_tokens},
        }  # fmt: skip
        return facts | ({"seconds": one.seconds} if times else {})

    return {
        "schema": 1,
        "differs": list(told.differs),
        "runs": [side(told.left), side(told.right)],
        "calls": [{"name": pair.name, "difference": pair.difference} for pair in told.calls],
    }
