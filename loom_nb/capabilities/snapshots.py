"""What the names of a notebook held before code ran: what changed since, and how to put it back.

Kept is the content of each list, dict, set, array, frame and plain object that a name leads to: its own
pointers, not copies of what they point to. So what is put back keeps its identity and its aliases, and
no code of a value runs. Frames and arrays are copied, up to a limit; what cannot be looked into (a file,
a connection) is kept by name only, and said to be so.
"""

import contextlib
import functools
import re
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from loom_nb.border import clean
from loom_nb.capabilities.anatomy import TIMES, derives, looks_secret, type_name
from loom_nb.capabilities.contents import Budget, Content, content_of, is_fixed, shape_of
from loom_nb.capabilities.describe import WITHHELD, compact
from loom_nb.capabilities.frames import attempt
from loom_nb.errors import LoomUsageError
from loom_nb.events import VariableChange, VariablesChanged

MOST_BYTES = 256 * 2**20
"""Bytes of frames, arrays and containers that one snapshot copies."""
MOST_OBJECTS = 20_000
"""Containers and objects that one snapshot looks into."""
KEPT_BYTES = 2**30
"""Bytes of old values that are kept for a roll back, all steps together."""
HISTORY = 5
"""Steps that can be rolled back."""

_OF_IPYTHON = re.compile(r"_+|_i{1,3}|_i?\d+|_[iod]h|_exit_code|__\w+__|In|Out|exit|quit|get_ipython")
_ABSENT: Any = object()

Namespace = MutableMapping[str, Any]


@dataclass(slots=True)
class _Held:
    """One name: what it stood for, and the contents that can be reached from it."""

    value: Any
    reached: tuple[int, ...] = ()
    unseen: bool = False
    """Something in it could not be looked into, or is too large to be kept."""


class Snapshot:
    """The names of a namespace and their contents at one moment.

    Args:
        namespace: the names; read only.
        hidden: names that count as not there while they hold that very value.
        most_bytes: of frames, arrays and containers that are copied.
        most_objects: containers and objects that are looked into.
    """

    def __init__(
        self,
        namespace: Namespace,
        *,
        hidden: Mapping[str, Any] | None = None,
        most_bytes: int = MOST_BYTES,
        most_objects: int = MOST_OBJECTS,
    ) -> None:
        self._hidden = hidden or {}
        self._budget = Budget(most_bytes, most_objects)
        self._contents: dict[int, Content | None] = {}
        """By the identity of the value, which is kept alive by it; None: it cannot be looked into."""
        self._names = {name: self._hold(value) for name, value in self._visible(namespace)}

    @property
    def bytes(self) -> int:
        """What its copies take, or would take once the originals are written to."""
        return self._budget.used

    def compare(self, namespace: Namespace, mentioned: Iterable[str] | None = None) -> "Step":
        """What happened to the names since. The snapshot is of no more use afterwards.

        Args:
            namespace: the names now.
            mentioned: the names that the code could reach, where that is known: of others nobody is
                told that they could not be looked into.
        """
        changed = {
            key for key, content in self._contents.items() if content is not None and content.changed()
        }
        now = dict(self._visible(namespace))
        reachable = None if mentioned is None else set(mentioned)
        step = Step(unseen=tuple(self._unseen(now, reachable)))
        for name, held in self._names.items():
            value = now.get(name, _ABSENT)
            if value is _ABSENT:
                step.note(name, "deleted", held.value, _ABSENT, self._before(name, held, changed))
            elif not _same(value, held.value) or changed.intersection(held.reached):
                before = self._before(name, held, changed)
                step.note(name, "changed", held.value, value, before)
        for name, value in now.items():
            if name not in self._names:
                step.note(name, "added", _ABSENT, value, "")
        reached = {
            key for name in step.names for key in (self._names[name].reached if name in self._names else ())
        }
        step.contents = [content for key in changed & reached if (content := self._contents[key]) is not None]
        step.describe(self._old_frame)
        self._contents, self._names = {}, {}
        return step

    def _visible(self, namespace: Namespace) -> Iterator[tuple[str, Any]]:
        for name, value in list(namespace.items()):
            if type(name) is not str or _OF_IPYTHON.fullmatch(name):
                continue
            if name not in self._hidden or self._hidden[name] is not value:
                yield name, value

    def _hold(self, value: Any) -> _Held:
        """Walk through all that a value leads to."""
        reached: dict[int, None] = {}
        unseen = False
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if is_fixed(one) or id(one) in reached:
                continue
            key = id(one)
            if key not in self._contents:
                self._contents[key] = content_of(one, self._budget)
            content = self._contents[key]
            if content is None:
                unseen = True
                continue
            reached[key] = None
            unseen = unseen or content.sampled
            waiting += content.children
        return _Held(value, tuple(reached), unseen)

    def _before(self, name: str, held: _Held, changed: set[int]) -> str:
        """In words what a name held, its own content as it was."""
        content = self._contents.get(id(held.value))
        old = content.before() if content is not None and id(held.value) in changed else held.value
        return words(name, old)

    def _old_frame(self, value: Any) -> Any:
        content = self._contents.get(id(value))
        return value if content is None else content.before()

    def _unseen(self, now: Mapping[str, Any], reachable: set[str] | None) -> Iterator[str]:
        """Names that still hold what could not be looked into, so that a change in it is not known."""
        for name, held in self._names.items():
            if held.unseen and now.get(name) is held.value and (reachable is None or name in reachable):
                yield name


@dataclass(slots=True)
class _Note:
    name: str
    change: str
    old: Any
    new: Any
    before: str
    after: str = ""


@dataclass(slots=True)
class Step:
    """What one run of code did to the names, with all that is needed to take it back."""

    unseen: tuple[str, ...] = ()
    contents: list[Content] = field(default_factory=list)
    _notes: list[_Note] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are not what they were."""
        return tuple(note.name for note in self._notes)

    @property
    def changes(self) -> tuple[VariableChange, ...]:
        """A row for each of these names."""
        return tuple(VariableChange(n.name, n.change, n.before, n.after) for n in self._notes)  # type: ignore[arg-type]  # notes hold these three words only

    @property
    def cannot_restore(self) -> tuple[str, ...]:
        """Names whose old content is not known, or was too large to be kept."""
        lost = {id(content.value) for content in self.contents if content.sampled}
        sampled = [note.name for note in self._notes if id(note.old) in lost]
        return tuple(dict.fromkeys([*sampled, *self.unseen]))

    @property
    def bytes(self) -> int:
        """What is held in memory for the sake of a roll back."""
        held = {id(content.value): content.size for content in self.contents}
        for note in self._notes:
            if note.old is not note.new and note.old is not _ABSENT and id(note.old) not in held:
                held[id(note.old)] = attempt_size(note.old)
        return sum(held.values())

    def note(self, name: str, change: str, old: Any, new: Any, before: str) -> None:
        """One name that is not what it was."""
        self._notes.append(_Note(name, change, old, new, before))

    def describe(self, old_frame: Callable[[Any], Any]) -> None:
        """Put into words what the names hold now; of frames also what is different."""
        for note in self._notes:
            if note.new is _ABSENT:
                continue
            note.after = words(note.name, note.new)
            if note.change == "changed":
                old = old_frame(note.old)
                told = attempt(functools.partial(difference, old, note.new), "")
                note.after += f"; {told}" if told else ""

    def undo(self, namespace: Namespace) -> VariablesChanged:
        """Put names and contents back; a name that was bound anew since then is left as it is."""
        replaced: dict[int, Any] = {}
        for content in self.contents:
            if not content.sampled:
                replaced[id(content.value)] = content.restore()
        rows: list[VariableChange] = []
        left: list[str] = list(self.cannot_restore)
        for note in self._notes:
            current = namespace.get(note.name, _ABSENT)
            if current is not note.new and not (current is not _ABSENT and _same(current, note.new)):
                left.append(note.name)
                continue
            if note.old is _ABSENT:
                del namespace[note.name]
                rows.append(VariableChange(note.name, "deleted", note.after))
                continue
            namespace[note.name] = replaced.get(id(note.old), note.old)
            change = "added" if note.new is _ABSENT else "changed"
            rows.append(VariableChange(note.name, change, note.after, note.before))  # type: ignore[arg-type]  # one of the two words above
        return VariablesChanged("", tuple(rows), rolled_back=True, cannot_restore=tuple(dict.fromkeys(left)))


class Rollback:
    """The last steps that code of the agent took, so that a person can take them back.

    Args:
        namespace: gives the names that are put back.
        history: steps that are kept.
        most_bytes: of old values; the oldest steps are forgotten first, the newest last of all.
    """

    def __init__(
        self, namespace: Callable[[], Namespace], *, history: int = HISTORY, most_bytes: int = KEPT_BYTES
    ) -> None:
        self._namespace = namespace
        self._history = history
        self._most_bytes = most_bytes
        self._steps: list[tuple[str, Step]] = []
        self._lock = threading.Lock()
        self.unfinished: Callable[[], bool] = lambda: False
        """Whether code that was left behind still runs, and may still change what is put back."""

    @property
    def calls(self) -> tuple[str, ...]:
        """The calls that can be rolled back, the newest last."""
        return tuple(call_id for call_id, _ in self._steps)

    def add(self, call_id: str, step: Step) -> bool:
        """Keep one step; False where it is too large to be kept."""
        if not step.names:
            return True
        with self._lock:
            self._steps = [*self._steps, (call_id, step)][-self._history :]
            while self._steps and sum(one.bytes for _, one in self._steps) > self._most_bytes:
                self._steps.pop(0)
            return any(one is step for _, one in self._steps)

    def changes(self, call_id: str | None = None) -> tuple[VariableChange, ...]:
        """What a call (by default the last) had changed. Raises LoomUsageError where nothing is kept."""
        return self._steps[self._place(call_id)][1].changes

    def undo(self, call_id: str | None = None) -> VariablesChanged:
        """Put back what was before a call, by default the last one; later calls are undone first.

        Names that were bound anew since then are left alone and told in `cannot_restore`.

        Raises:
            LoomUsageError: nothing is kept of this call, or its code still runs.
        """
        if self.unfinished():
            raise LoomUsageError(
                "code of the agent still runs and may change what is put back",
                fixes=["wait until it has ended, or restart the kernel"],
            )
        with self._lock:
            place = self._place(call_id)
            undone, self._steps = self._steps[place:], self._steps[:place]
            events = [step.undo(self._namespace()) for _, step in reversed(undone)]
        rows = _merged([row for event in events for row in event.changes])
        cannot = dict.fromkeys(name for event in events for name in event.cannot_restore)
        return VariablesChanged(undone[0][0], tuple(rows), rolled_back=True, cannot_restore=tuple(cannot))

    def keep(self, call_id: str | None = None) -> None:
        """Forget how to go back: of one call and all before it, or of all."""
        with self._lock:
            self._steps = [] if call_id is None else self._steps[self._place(call_id) + 1 :]

    def _place(self, call_id: str | None) -> int:
        for place in range(len(self._steps) - 1, -1, -1):
            if call_id in (None, self._steps[place][0]):
                return place
        raise LoomUsageError(
            f"nothing is kept of call {call_id}" if call_id else "there is nothing to roll back",
            cause="a step can be taken back until it is kept for good, or the kernel ends",
            fixes=[f"one of {', '.join(self.calls)}"] if self.calls else [],
        )


def in_words(step: Step, *, kept: bool = True) -> str:
    """What a model or a reader is told of a step."""
    lines = []
    for row in step.changes[:40]:
        told = " -> ".join(text for text in (row.before, row.after) if text)
        lines.append(f"  {row.change} {row.name}: {told}")
    if len(step.changes) > 40:
        lines.append(f"  ... and {len(step.changes) - 40:,} more")
    text = "\n".join(["Variables:", *lines]) if lines else "No variable changed, as far as could be seen."
    if step.cannot_restore:
        text += f"\nNot looked into, so not restorable: {', '.join(step.cannot_restore[:20])}"
    if lines and not kept:
        text += "\nThe old values are too large to be kept: this cannot be rolled back."
    return clean(text)


def words(name: str, value: Any) -> str:
    """A value in a few words; what looks like a secret is withheld."""
    if looks_secret(name, value):
        return WITHHELD
    if derives(type(value), types.ModuleType):
        return "module"
    made = describe_shape(value)
    return clean(made or attempt(functools.partial(compact, value, 60), f"<{type_name(type(value))}>"))


def describe_shape(value: Any) -> str:
    """Type and size of frames, series and arrays; empty for all else."""
    shape = shape_of(value)
    if shape is None:
        return ""
    rows = TIMES.join(f"{one:,}" for one in shape)
    return f"{type(value).__name__} {rows}"


def difference(old: Any, new: Any) -> str:
    """What is different between two frames; empty for all else."""
    if len(shape_of(old) or ()) != 2 or type(old) is not type(new) or not hasattr(old, "columns"):
        return ""
    before, after = list(old.columns), list(new.columns)
    gone = [f"-{one}" for one in before if one not in after]
    come = [f"+{one}" for one in after if one not in before]
    told = [f"columns: {', '.join(map(str, [*gone, *come][:12]))}"] if gone or come else []
    both = [one for one in after if one in before][:200]
    kinds = [
        f"{one} {old[one].dtype} -> {new[one].dtype}" for one in both if old[one].dtype != new[one].dtype
    ]
    if kinds:
        told.append(f"types: {', '.join(kinds[:6])}")
    if len(old) == len(new):
        values = [str(one) for one in both if not _equal(old[one], new[one])]
        told += [f"values in: {', '.join(values[:8])}"] if values and not kinds else []
    else:
        told.append(f"rows: {len(new) - len(old):+,}")
    return "; ".join(told)


def _equal(old: Any, new: Any) -> bool:
    with contextlib.suppress(Exception):  # the border to libraries and to the values in a column
        return bool(old.equals(new))
    return False


def attempt_size(value: Any) -> int:
    """Bytes of a frame or an array, guessed of the rest; never raises."""
    budget = Budget(0, 1)
    return budget.size_of(value)


def _same(one: Any, other: Any) -> bool:
    return one is other or (is_fixed(one) and type(one) is type(other) and _plainly_equal(one, other))


_PLAIN = (int, float, complex, str, bytes, bool)


def _plainly_equal(one: Any, other: Any) -> bool:
    return type(one) in _PLAIN and (one == other or (one != one and other != other))  # noqa: PLR0124  not a number


def _merged(rows: list[VariableChange]) -> list[VariableChange]:
    """One row for each name: from what it was when the undoing began to what it is now."""
    first: dict[str, VariableChange] = {}
    for row in rows:
        known = first.get(row.name)
        first[row.name] = (
            row if known is None else VariableChange(row.name, row.change, known.before, row.after)
        )
    return list(first.values())
