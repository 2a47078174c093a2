"""Answers in the form of a JSON schema: the answer that there would be in words, put into its fields.

Nothing is made up: a value comes from the words, the data with them, the tools or arithmetic. Where a
field that is needed stays empty, the model says which one in words, and sends no JSON.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from loom_nb.models.offline import rows
from loom_nb.models.offline.about_data import INSPECT, LIST
from loom_nb.models.offline.choice import Clause
from loom_nb.models.offline.extract import said
from loom_nb.models.offline.facts import Facts, read_facts, together
from loom_nb.models.offline.figures import as_they_are, cells
from loom_nb.models.offline.phrasing import reported
from loom_nb.models.offline.recall import is_question
from loom_nb.models.offline.slots import Slot, kind_of, resolved, slots_of
from loom_nb.models.offline.steps import Answer, Calls, Plan
from loom_nb.models.offline.tables import inline
from loom_nb.models.offline.task import ASKED, Outcome, Task, value_in
from loom_nb.models.offline.values import NOTHING, json_or_number, plain_data
from loom_nb.models.offline.words import name_words, pieces, stems

MAX_DEPTH = 12
MOST_SHOWN = 20
"""Rows that `inspect_variable` shows at most."""
_RESULT_NAMES = frozenset({"answer", "result", "output", "value"})
_WORDY_NAMES = frozenset({*_RESULT_NAMES, "text", "summary", "description", "message"})
_Node: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Gap:
    """A field for which there is nothing."""

    field: str
    why: str = ""


def structured(task: Task, found: Sequence[Clause], work: Plan) -> Plan:
    """Answer in words first, as without a schema, then put that and what was seen on the way into the form.

    Args:
        task: with the form in `output`.
        found: the tools that the text means.
        work: the plan for the answer in words.
    """
    if not found:
        ready = _Evidence(task, (), None)
        if not isinstance(value := ready.answer(), _Gap) and not ready.emptied:
            return _as_json(value)
    outcomes: list[Outcome] = []
    try:
        step = next(work)
        while True:
            results = yield step
            outcomes += results
            step = work.send(results)
    except StopIteration as end:
        worded: Answer = end.value
    subject = _with_hidden_rows(task, outcomes)
    if subject and _holds_many(task.output.schema if task.output else {}):
        call = (INSPECT, {"name": subject, "detail": "head"})
        outcomes += yield Calls((call,), f"picking {INSPECT} because not all rows of {subject} are shown")
    return filled(task, outcomes, worded)


def filled(task: Task, outcomes: Sequence[Outcome], worded: Answer | None = None) -> Answer:
    """The JSON answer from what is there, or in words which field stays empty."""
    value = _Evidence(task, outcomes, worded).answer()
    if not isinstance(value, _Gap):
        return _as_json(value)
    failed = [outcome for outcome in outcomes if outcome.is_error]
    why = value.why or "neither your words nor the data with them nor the tools here say it"
    if failed:
        why = reported(failed[:1]).rstrip(".")
    elif worded is not None and ASKED.search(worded.text):
        why = worded.text.rstrip(".")
    return Answer(f"I cannot fill `{value.field}`: {why}.", "a field that is needed stays empty")


def fits(value: Any, schema: _Node) -> bool:
    """Whether a value is valid; a schema that is not valid itself refuses nothing."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for
    from referencing.exceptions import Unresolvable

    try:
        return bool(validator_for(schema)(schema).is_valid(value))
    except (SchemaError, Unresolvable, RecursionError, re.error):
        return True


def _as_json(value: Any) -> Answer:
    return Answer(json.dumps(value, ensure_ascii=False), "filling the schema with what was found", bare=True)


class _Evidence:
    """What may be put into a structured answer, each value only where its name, type or the text ties it."""

    def __init__(self, task: Task, outcomes: Sequence[Outcome], worded: Answer | None) -> None:
        self._task = task
        self._root: _Node = task.output.schema if task.output else {}
        self._good = [o for o in outcomes if not o.is_error and o.name not in (INSPECT, LIST)]
        results = [json_or_number(outcome.text) for outcome in self._good]
        parts = [plain_data(part.text) for part in task.exchange.parts]
        self._frames = frames(task, outcomes)
        self._row = (worded.row if worded else None) or self._named_row()
        self._offered = [one for one in (*results, *parts) if one is not NOTHING]
        told = worded.values if worded else ()
        texts = [outcome.text for outcome in self._good]
        self._values = [*told, *(one for one in results if one is not NOTHING), *texts]
        self._words = [worded.text] if worded and (told or worded.told) else []
        self.emptied = False
        """Whether something that may be empty was left so."""

    def answer(self) -> Any:
        """A value that fits the schema, or the gap in it."""
        node = resolved(self._root, self._root)
        properties = node.get("properties")
        if isinstance(properties, Mapping) and list(properties) == ["value"]:  # how a plain type travels
            inner = self._whole(properties["value"], "value")
            value: Any = inner if isinstance(inner, _Gap) else {"value": inner}
        else:
            value = self._whole(self._root, "answer")
        if isinstance(value, _Gap) or fits(value, self._root):
            return value
        return _Gap("answer", "what I found does not meet all conditions of the schema")

    def _whole(self, node: Any, name: str) -> Any:
        """The answer itself as a value of one type."""
        plain = resolved(node, self._root)
        kind = kind_of(plain)
        if kind == "object":
            found = self._object(plain, self._task.text, 0, name)
        elif kind == "array":
            found = self._list(plain, name)
        else:
            found = self._first(plain, [*self._values, *self._words])
            if found is NOTHING:
                found = said({"value": plain}, self._root, self._text()).get("value", NOTHING)
            found = found if self._takes(found, plain) else _Gap(name)
        return self._empty(node, found) if isinstance(found, _Gap) else found

    def _named_row(self) -> rows.Row | None:
        """The one row of a frame that the text names: "Rome in df"."""
        for facts in self._frames:
            found = rows.named_rows(facts, rows.records(facts) or [], self._task.text)
            if len(found) == 1 and not rows.filters(self._task.text):
                return found[0]
        return None

    def _text(self) -> str:
        """The words of the user, with the text that travels as data where there is one."""
        parts = self._task.exchange.parts
        text = self._task.text
        if len(parts) == 1:
            own = parts[0].text if parts[0].summary.startswith("str ") else value_in(parts[0].text)
            text = f"{text}\n{own[:4000]}" if isinstance(own, str) else text
        return text

    def _empty(self, node: Any, gap: _Gap) -> Any:
        """What a place holds for which nothing was found: its default or null where it may, else a gap."""
        plain = resolved(node, self._root)
        for word in ("const", "default"):
            for where in (node, plain):
                if isinstance(where, Mapping) and word in where:
                    self.emptied = True
                    return where[word]
        if isinstance(node, Mapping) and _takes_null(node):
            self.emptied = True
            return None
        return gap

    def _takes(self, value: Any, node: _Node) -> bool:
        shared = {key: self._root[key] for key in ("$defs", "definitions") if key in self._root}
        return value is not NOTHING and fits(value, {**node, **shared})

    def _first(self, node: _Node, among: Sequence[Any]) -> Any:
        """The first value that fits, a whole number written as 4.0 for an integer too."""
        kind = kind_of(node)
        for one in among:
            value = int(one) if kind == "integer" and isinstance(one, float) and one.is_integer() else one
            if isinstance(value, bool) and kind != "boolean":
                continue
            if self._takes(value, node):
                return value
        return NOTHING

    def _object(self, node: _Node, text: str, depth: int, name: str) -> Any:
        properties = node.get("properties")
        if not isinstance(properties, Mapping) or not properties or depth > MAX_DEPTH:
            found = self._first(node, [one for one in self._offered if isinstance(one, dict)])
            return _Gap(name) if found is NOTHING else found
        slots = slots_of({**node, **{k: self._root[k] for k in ("$defs", "definitions") if k in self._root}})
        from_words = said(properties, self._root, text if depth else self._text())
        title = str(node.get("title", ""))
        row = self._row and {
            field: self._row[column]
            for field, column in rows.aligned(_fields(slots), title, self._row).items()
        }
        value: dict[str, Any] = {}
        for slot in slots:
            child = resolved(properties[slot.name], self._root)
            found = self._first(child, self._tied(slot, row or {}, from_words, depth))
            if found is NOTHING and slot.kind == "object" and slot.required:
                inner = self._object(child, text, depth + 1, slot.name)
                found = NOTHING if isinstance(inner, _Gap) else inner
            if found is NOTHING and slot.kind == "array" and slot.required:
                inner = self._list(child, slot.name)
                found = NOTHING if isinstance(inner, _Gap) else inner
            if found is not NOTHING:
                value[slot.name] = found
        if depth == 0:
            self._the_one_left(slots, properties, value)
        return self._completed(slots, properties, value)

    def _tied(
        self, slot: Slot, row: Mapping[str, Any], from_words: Mapping[str, Any], depth: int
    ) -> list[Any]:
        """Values that a name ties to a field, the best first."""
        found: list[Any] = [row[slot.name]] if slot.name in row else []
        for one in self._offered if depth == 0 else ():
            record = one[0] if isinstance(one, list) and len(one) == 1 else one
            if isinstance(record, dict):
                found += [held for key, held in record.items() if _flat(str(key)) == _flat(slot.name)]
        for outcome in self._good:
            same = set(slot.about) & set(stems(name_words(outcome.name)))
            if same or slot.name.lower() in _RESULT_NAMES:
                parsed = json_or_number(outcome.text)
                found.append(outcome.text if parsed is NOTHING or slot.kind == "string" else parsed)
            if slot.name in outcome.arguments:
                found.append(outcome.arguments[slot.name])
        found += [one for facts in self._frames if (one := _fact(slot, facts)) is not None]
        return [*found, *([from_words[slot.name]] if slot.name in from_words else [])]

    def _the_one_left(self, slots: Sequence[Slot], properties: _Node, value: dict[str, Any]) -> None:
        """Put the answer into the one field that is still open and takes it."""
        left = [slot for slot in slots if slot.required and slot.name not in value]
        strict = [slot for slot in left if not _takes_null(properties[slot.name])]
        only = strict or (left if len(slots) == 1 else [])
        if len(only) != 1:
            return
        name = only[0].name
        words = self._words if name.lower() in _WORDY_NAMES else []
        found = self._first(resolved(properties[name], self._root), [*self._values, *words])
        if found is not NOTHING:
            value[name] = found

    def _completed(self, slots: Sequence[Slot], properties: _Node, value: dict[str, Any]) -> Any:
        for slot in slots:
            if slot.required and slot.name not in value:
                nothing = self._empty(properties[slot.name], _Gap(slot.name))
                if isinstance(nothing, _Gap):
                    return nothing
                value[slot.name] = nothing
            elif not slot.required and slot.name not in value:
                self.emptied = True
        return {name: value[name] for name in properties if name in value}

    def _list(self, node: _Node, name: str) -> Any:
        items = resolved(node.get("items"), self._root)
        found = self._first(node, [*self._values, *self._offered])
        if found is not NOTHING:
            return found
        if kind_of(items) == "object":
            return self._records(items, name)
        bracketed = re.search(r"\[[^\[\]\n]{0,4000}\]", self._task.text)
        listing = json_or_number(bracketed[0]) if bracketed else NOTHING
        after = re.search(r":\s*(\S[^\n?]{0,2000}?)[.!]*$", self._task.text)
        if listing is NOTHING and after and not is_question(self._task.text):
            listing = [one for one in re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", after[1]) if one]
        columns = [one for facts in self._frames if (one := _column_names(name, facts)) is not None]
        text = self._task.text
        told = [cells(text.replace(facts.name, " "), facts) for facts in self._frames]
        lists = [one.values[-1] for one in told if one is not None]
        found = self._first(node, [*columns, *lists, listing])
        return _Gap(name) if found is NOTHING else found

    def _records(self, items: _Node, name: str) -> Any:
        """One object for each row of a frame that is shown whole, else for each piece of the text."""
        gap = _Gap(name)
        for facts in self._frames:
            made = self._from_frame(items, facts, name)
            if not isinstance(made, _Gap):
                return made
            gap = made
        if self._frames:
            return gap
        found = []
        text = self._text()
        for start, end in pieces(text)[:50]:
            words = said(items.get("properties", {}), self._root, text[start:end])
            made = self._object(items, text[start:end], 1, name)
            if isinstance(made, _Gap) and len(words) >= 2:
                return made
            if not isinstance(made, _Gap) and len(words) >= min(2, len(made)) and made not in found:
                found.append(made)
        return found or gap

    def _from_frame(self, items: _Node, facts: Facts, name: str) -> Any:
        every = rows.records(facts)
        if every is None:
            seen = len(facts.head.rows) if facts.head else 0
            return _Gap(
                name, f"of the {facts.rows or 0:,} rows of `{inline(facts.name)}` only {seen:,} are shown"
            )
        text = self._task.text.replace(facts.name, " ").replace(str(items.get("title", "")) or " ", " ")
        some = rows.kept(facts, every, text) if as_they_are(text, facts) else None
        some = [self._row] if some is None and self._row else some
        if some is None:
            return _Gap(name, "I cannot tell which rows you mean")
        properties = items.get("properties", {})
        slots, title = slots_of({**items, "$defs": self._root.get("$defs", {})}), str(items.get("title", ""))
        found = []
        for row in some:
            columns = rows.aligned(_fields(slots), title, row)
            value = {}
            for slot in slots:
                child = resolved(properties[slot.name], self._root)
                if slot.name in columns and row[columns[slot.name]] is not None:
                    held = self._first(child, [row[columns[slot.name]]])
                    if held is NOTHING:
                        return _Gap(slot.name, f"a value of `{inline(columns[slot.name])}` does not fit")
                    value[slot.name] = held
            made = self._completed(slots, properties, value)
            if isinstance(made, _Gap):
                return _Gap(made.field, f"`{inline(facts.name)}` has no value for it")
            found.append(made)
        return found


def frames(task: Task, outcomes: Sequence[Outcome]) -> list[Facts]:
    """The frames that travel with the message or were looked into, with all that was said of each."""
    texts: dict[str, list[str]] = {}
    for part in task.exchange.parts:
        texts.setdefault(part.name, []).append(part.text)
    for outcome in outcomes:
        if outcome.name == INSPECT and not outcome.is_error:
            texts.setdefault(str(outcome.arguments.get("name", "")), []).append(outcome.text)
    told = [together(read_facts(name, text) for text in each) for name, each in texts.items()]
    return [facts for facts in told if facts is not None and facts.columns]


def _with_hidden_rows(task: Task, outcomes: Sequence[Outcome]) -> str:
    """The name of a small frame of which not all rows are shown, where they can be had."""
    if task.tool(INSPECT) is None:
        return ""
    for facts in frames(task, outcomes):
        seen = any(o.name == INSPECT and o.arguments.get("detail") == "head" for o in outcomes)
        if facts.name.isidentifier() and not seen and 0 < (facts.rows or 0) <= MOST_SHOWN:
            return "" if rows.shown_whole(facts) else facts.name
    return ""


def _holds_many(schema: _Node) -> bool:
    node = resolved(schema, schema)
    properties = node.get("properties")
    inner = [resolved(one, schema) for one in properties.values()] if isinstance(properties, Mapping) else []
    return any(kind_of(one) == "array" for one in (node, *inner))


def _fields(slots: Sequence[Slot]) -> list[tuple[str, bool]]:
    return [(slot.name, slot.kind == "string") for slot in slots]


def _flat(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _column_names(name: str, facts: Facts) -> list[str] | None:
    columns = [column.name for column in facts.columns]
    return columns if name.lower() in ("columns", "column_names", "fields") and columns else None


def _fact(slot: Slot, facts: Facts) -> Any:
    """Rows, columns, gaps, figures of a frame where a field is named after them."""
    name = slot.name.lower()
    if slot.kind == "array":
        return _column_names(name, facts)
    if not slot.numeric:
        return None
    if name in ("rows", "n_rows", "row_count", "records"):
        return facts.rows
    if name in ("columns", "n_columns", "column_count", "width"):
        return facts.width
    if "missing" in name:
        told = [column.missing for column in facts.columns if column.missing is not None]
        return sum(told) if told and len(told) == len(facts.columns) else None
    every = rows.records(facts) or []
    for column in facts.columns:
        for which, key in _FIGURES:
            if name in (f"{which}_{column.name.lower()}", f"{column.name.lower()}_{which}"):
                shown = json_or_number(column.statistics.get(key, ""))
                known = rows.figures_of(every, column.name) if every else None
                worked = rows.exact(known, key) if known else None
                return worked if worked is not None else None if shown is NOTHING else shown
    return None


_FIGURES = (
    ("mean", "mean"),
    ("average", "mean"),
    ("max", "max"),
    ("min", "min"),
    ("median", "50%"),
    ("total", "sum"),
    ("sum", "sum"),
)


def _takes_null(node: Any) -> bool:
    if not isinstance(node, Mapping):
        return False
    kinds = node.get("type")
    if kinds == "null" or (isinstance(kinds, list) and "null" in kinds):
        return True
    branches = node.get("anyOf", node.get("oneOf"))
    return isinstance(branches, list) and any(
        isinstance(one, Mapping) and one.get("type") == "null" for one in branches
    )
