"""Answers in the form of a JSON schema: what the text, the data and the tools hold, and empty values else."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from loom_nb.models.offline.arithmetic import number, numbers
from loom_nb.models.offline.choice import Clause
from loom_nb.models.offline.facts import Facts
from loom_nb.models.offline.fill import Filled, fill
from loom_nb.models.offline.slots import Slot, kind_of, resolved, slots_of
from loom_nb.models.offline.steps import Answer, Calls, Plan
from loom_nb.models.offline.task import Outcome, Task, value_in
from loom_nb.models.offline.using_tools import prepare, reason
from loom_nb.models.offline.words import name_words, nearest, pieces, stem, stems

MAX_DEPTH = 12


def structured(task: Task, found: Sequence[Clause]) -> Plan:
    """Call the tools that the text means, look at the data it names, then answer with JSON."""
    results: list[Outcome] = []
    for clause in found[:3]:
        ready = prepare(task, clause, task.known, results, task.given, chained=bool(results))
        if ready.calls:
            results += yield Calls(ready.calls, f"picking {reason(clause)}")
    return filled(task, results)


def filled(task: Task, results: Sequence[Outcome]) -> Answer:
    """The JSON answer from what is there."""
    schema = task.output.schema if task.output else {}
    value = build(schema, task, results)
    return Answer(json.dumps(value, ensure_ascii=False), "filling the schema with what was found", bare=True)


def build(schema: Mapping[str, Any], task: Task, results: Sequence[Outcome]) -> Any:
    """A value that fits the schema where this is possible."""
    node = resolved(schema, schema)
    offered = [
        parsed
        for outcome in results
        if not outcome.is_error and (parsed := _parsed(outcome.text)) is not None
    ]
    offered += [parsed for part in task.exchange.parts if (parsed := _parsed(part.text)) is not None]
    evidence = _Evidence(task, offered, [outcome for outcome in results if not outcome.is_error])
    best = evidence.value(node, schema, task.text, 0)
    if best is not None and fits(best, schema):
        return best
    return least(schema, schema)


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value is valid; a schema that is not valid itself refuses nothing."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for
    from referencing.exceptions import Unresolvable

    try:
        return bool(validator_for(schema)(schema).is_valid(value))
    except (SchemaError, Unresolvable, RecursionError, re.error):
        return True


def least(node: Any, root: Mapping[str, Any], depth: int = 0) -> Any:
    """The smallest value of a schema: null, empty, zero, or the first of a choice."""
    if isinstance(node, Mapping) and _takes_null(node):
        return None
    plain = resolved(node, root)
    for word in ("default", "const"):
        if word in plain:
            return plain[word]
    options = plain.get("enum")
    if isinstance(options, list) and options:
        return options[0]
    kind = kind_of(plain)
    if kind in ("array", "object"):
        return _least_whole(plain, root, depth, many=kind == "array")
    if kind == "string":
        return _least_text(plain)
    simple = {"boolean": False, "any": None}
    return simple[kind] if kind in simple else _least_number(plain, whole=kind == "integer")


def _least_whole(node: Mapping[str, Any], root: Mapping[str, Any], depth: int, *, many: bool) -> Any:
    if many:
        count = node.get("minItems", 0)
        count = min(count, 100) if isinstance(count, int) and depth < 3 else 0
        return [least(node.get("items", {}), root, depth + 1) for _ in range(count)]
    properties, needed = node.get("properties", {}), node.get("required", ())
    if depth >= MAX_DEPTH or not isinstance(properties, Mapping) or not isinstance(needed, list | tuple):
        return {}
    return {name: least(properties.get(name, {}), root, depth + 1) for name in needed}


class _Evidence:
    """What may be put into a structured answer, each value at most where its name or the text ties it."""

    def __init__(self, task: Task, offered: Sequence[Any], results: Sequence[Outcome] = ()) -> None:
        self._task = task
        self._offered = offered
        self._results = results
        self._facts = [facts for part in task.exchange.parts if (facts := task.facts(part.name)) is not None]

    def value(self, node: Mapping[str, Any], root: Mapping[str, Any], text: str, depth: int) -> Any:
        kind = kind_of(node)
        if kind == "object":
            return self._object(node, root, text, depth)
        if kind == "array":
            return self._array(node, root, text, depth)
        wrapped = {"type": "object", "properties": {"value": dict(node)}, "required": ["value"]}
        slots = slots_of(wrapped)
        for one in self._offered:
            if _is_kind(one, slots[0]):
                return one
        return fill(slots, text, known=self._task.known).values.get("value", least(node, root))

    def _object(self, node: Mapping[str, Any], root: Mapping[str, Any], text: str, depth: int) -> Any:
        properties = node.get("properties")
        if not isinstance(properties, Mapping) or depth > MAX_DEPTH:
            whole = next((one for one in self._offered if isinstance(one, dict)), None)
            return whole if whole is not None and not properties else {}
        slots = slots_of(dict(node) | {k: root[k] for k in ("$defs", "definitions") if k in root})
        said = self._said(slots, text)
        value: dict[str, Any] = {}
        for slot in slots:
            child = resolved(properties[slot.name], root)
            found = self._named(slot)
            if (
                found is None
                and slot.kind in ("object", "array")
                and slot.name not in said.values
                and slot.required
            ):
                found = self.value(child, root, text, depth + 1)
            if found is None:
                found = said.values.get(slot.name)
            if found is not None and fits(
                found, child | {k: root[k] for k in ("$defs", "definitions") if k in root}
            ):
                value[slot.name] = found
            elif slot.required:
                value[slot.name] = least(properties[slot.name], root)
        return value

    def _said(self, slots: Sequence[Slot], text: str) -> Filled:
        """What the words of the user tie to a property: numbers only beside a word of its name."""
        for part in self._task.exchange.parts:
            plain = value_in(part.text)
            if isinstance(plain, str) and len(self._task.exchange.parts) == 1:
                text = f"{text}\n{plain}"
        lone = sum(slot.numeric for slot in slots) == 1 and len(numbers(text)) == 1
        tied = [slot for slot in slots if not slot.numeric or lone or _beside(slot, text) is not None]
        filled = fill(tied, text, known=self._task.known, sure=True)
        for slot in slots:
            beside = _beside(slot, text) if slot.numeric else None
            if beside is not None:
                filled.values[slot.name] = int(beside) if slot.kind == "integer" else beside
        return filled

    def _named(self, slot: Slot) -> Any:
        """A value of the same name in a tool's result or in the facts about the data."""
        for one in self._offered:
            rows = one if isinstance(one, list) else [one]
            for row in rows[:1]:
                if isinstance(row, dict) and slot.name in row:
                    return row[slot.name]
        numbers_left = [one for one in self._offered if slot.numeric and _is_kind(one, slot)]
        if numbers_left:
            return numbers_left[0]
        if slot.kind == "string" and not slot.choices:
            for outcome in self._results:
                same = set(slot.about) & set(stems(name_words(outcome.name)))
                if same or slot.name.lower() in ("answer", "result", "output"):
                    return outcome.text
        return next((found for facts in self._facts if (found := _fact(slot, facts)) is not None), None)

    def _array(self, node: Mapping[str, Any], root: Mapping[str, Any], text: str, depth: int) -> Any:
        items = resolved(node.get("items"), root)
        for one in self._offered:
            if isinstance(one, list) and fits(
                one, dict(node) | {k: root[k] for k in ("$defs", "definitions") if k in root}
            ):
                return one
        if kind_of(items) == "object" and depth < 3:
            return self._rows(items, root, text, depth)
        slots = slots_of({"type": "object", "properties": {"values": dict(node)}, "required": ["values"]})
        return fill(slots, text, known=self._task.known, sure=True).values.get("values", [])

    def _rows(self, items: Mapping[str, Any], root: Mapping[str, Any], text: str, depth: int) -> list[Any]:
        """One object for each piece of the text that says at least two things of it."""
        empty = least(items, root)
        rows = []
        for start, end in pieces(text)[:50]:
            row = self._object(items, root, text[start:end], depth + 1)
            told = sum(row.get(name) != empty.get(name) for name in row) if isinstance(empty, dict) else 0
            if told >= min(2, len(row)) and told and row not in rows:
                rows.append(row)
        return rows


def _beside(slot: Slot, text: str) -> float | None:
    years = slot.about[:1] == ("age",) or slot.name.lower() in ("age", "years")
    for start, end, value in numbers(text[:4000]):
        around = (
            re.findall(r"[^\W\d_]+", text[max(0, start - 30) : start])[-2:]
            + re.findall(r"[^\W\d_]+", text[end : end + 20])[:2]
        )
        tied = years and "years" in (word.lower() for word in around)
        if tied or any(nearest(stem(word), slot.about) for word in around):
            if slot.kind == "integer" and not float(value).is_integer():
                continue
            return value
    return None


def _fact(slot: Slot, facts: Facts) -> Any:
    """Rows, columns, gaps of a frame where a property is named after them."""
    name = slot.name.lower()
    if slot.kind == "array" and name in ("columns", "column_names", "fields"):
        return [column.name for column in facts.columns] or None
    if slot.numeric and name in ("rows", "n_rows", "row_count", "records"):
        return facts.rows
    if slot.numeric and name in ("columns", "n_columns", "column_count", "width"):
        return facts.width
    if slot.numeric and "missing" in name and facts.columns:
        told = [column.missing for column in facts.columns if column.missing is not None]
        return sum(told) if told else None
    for column in facts.columns:
        for which, key in (
            ("mean", "mean"),
            ("average", "mean"),
            ("max", "max"),
            ("min", "min"),
            ("median", "50%"),
        ):
            if slot.numeric and name in (f"{which}_{column.name.lower()}", f"{column.name.lower()}_{which}"):
                return number(column.statistics.get(key, ""))
    return None


def _parsed(text: str) -> Any:
    plain = text.strip()
    if plain[:1] in "[{" and len(plain) < 200_000:
        try:
            return json.loads(plain, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return None
    return number(plain) if plain else None


def _is_kind(value: Any, slot: Slot) -> bool:
    match slot.kind:
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
    return False


def _takes_null(node: Mapping[str, Any]) -> bool:
    kinds = node.get("type")
    if kinds == "null" or (isinstance(kinds, list) and "null" in kinds):
        return True
    branches = node.get("anyOf", node.get("oneOf"))
    return isinstance(branches, list) and any(
        isinstance(one, Mapping) and one.get("type") == "null" for one in branches
    )


def _least_text(node: Mapping[str, Any]) -> str:
    known = {
        "date": "1970-01-01",
        "date-time": "1970-01-01T00:00:00Z",
        "email": "nobody@example.invalid",
        "uri": "about:blank",
    }
    text = known.get(str(node.get("format")), "")
    shortest = node.get("minLength", 0)
    return text.ljust(min(shortest, 10_000), "-") if isinstance(shortest, int) else text


def _least_number(node: Mapping[str, Any], *, whole: bool) -> float:
    low, high = node.get("minimum"), node.get("maximum")
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    step = node.get("multipleOf", 1)
    value: float = 0
    if isinstance(low, int | float) and value < low:
        value = low
    if isinstance(above, int | float) and value <= above:
        value = above + 1
    if isinstance(high, int | float) and value > high:
        value = high
    if isinstance(below, int | float) and value >= below:
        value = below - 1
    if isinstance(step, int | float) and step > 0 and value % step:
        value = (value // step + 1) * step
    return int(-(-value // 1)) if whole else value
