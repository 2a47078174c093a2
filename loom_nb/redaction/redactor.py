"""Takes known secrets out of texts and of streams of bytes, in whatever form they stand there.

A secret is found as it is, with escapes as in an address, in JSON, in HTML or in code, also twice over, in
base64 at any place, and in hexadecimal digits. Of a long one, pieces are found. Not found are secrets of
less than 8 bytes, and other changes: reversed, compressed, one letter at a time.
"""

import codecs
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from loom_nb.redaction.breaks import Rejoined
from loom_nb.redaction.escapes import Places, aligned, begun, from_end, unescaped
from loom_nb.redaction.forms import SHORTEST, forms
from loom_nb.redaction.search import Spans, search

_DEPTH = 2
"""How often the escapes of a text are read: JSON within an address."""
_STEM = 4


def redactable(value: str) -> bool:
    """Whether a secret is long enough to be looked for without blotting out ordinary words."""
    return len(value.encode("utf-8", "surrogatepass")) >= SHORTEST


class Redactor:
    """Replaces each secret by `[secret NAME]`. It does not change: any thread may use it at any time.

    It knows every form of each, so it shows none of them and is not pickled.

    Args:
        secrets: names with their values, one or several. Those that are not `redactable` are passed over.
    """

    __slots__ = ("__weakref__", "_find", "_forms", "_longest", "_marks", "_names", "_stems")

    def __init__(self, secrets: Mapping[str, str | Iterable[str]]) -> None:
        named: dict[bytes, str] = {}
        for name, values in secrets.items():
            for value in (values,) if isinstance(values, str) else values:
                if redactable(value):
                    for form in forms(value):
                        named.setdefault(form, name)
        self._forms = sorted(named)
        self._names = [named[form] for form in self._forms]
        self._marks = [f"[secret {name}]".encode() for name in self._names]
        self._longest = max(map(len, self._forms), default=0)
        self._find = search(self._forms)
        self._stems = search(sorted({form[:_STEM] for form in self._forms}))

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._forms)

    def __repr__(self) -> str:
        return f"<Redactor of {len(set(self._names))} secrets>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a redactor is not pickled or copied")

    def text(self, text: str) -> str:
        """A text without the secrets; itself where it holds none."""
        return self.counted(text)[0]

    def counted(self, text: str) -> tuple[str, Counter[str]]:
        """A text without the secrets, and how often each was taken out."""
        if not self._forms:
            return text, Counter()
        made, found = self._cleaned(text.encode("utf-8", "surrogatepass"))
        return (made.decode("utf-8", "replace") if found else text), found

    def data(self, data: bytes) -> bytes:
        """Bytes without the secrets."""
        return self._cleaned(data)[0] if self._forms else data

    def holds(self, data: bytes) -> bool:
        """Whether any of the secrets stands in there."""
        return bool(self._forms) and bool(self.look(data, last=True)[0] or self._broken(data))

    def plain(self, value: Any) -> Any:
        """Plain data without the secrets: texts, bytes, and lists and mappings of these."""
        match value:
            case str():
                return self.text(value)
            case bytes():
                return self.data(value)
            case dict():
                return {self.plain(name): self.plain(inner) for name, inner in value.items()}
            case list() | tuple():
                return [self.plain(inner) for inner in value]
        return value

    def stream(self) -> "RedactedStream":
        """For bytes that come in pieces."""
        return RedactedStream(self)

    def names_in(self, text: str) -> frozenset[str]:
        """Whose secrets stand in a text."""
        data = text.encode("utf-8", "surrogatepass")
        spans, _ = self.look(data, last=True)
        return frozenset(self._names[form] for _, _, form in (*spans, *self._broken(data)))

    def places(self, text: str) -> list[tuple[int, int]]:
        """Where secrets stand in a text: from which character to which; they may overlap."""
        data = text.encode("utf-8", "surrogatepass")
        spans = [*self.look(data, last=True)[0], *self._broken(data)] if self._forms else []
        if text.isascii() or not spans:
            return [(start, end) for start, end, _ in spans]

        return _in_characters([(start, end) for start, end, _ in spans], data)

    def mark(self, form: int) -> tuple[str, bytes]:
        """The name of the secret that a form belongs to, and what stands in its place."""
        return self._names[form], self._marks[form]

    def look(self, text: bytes, *, last: bool, depth: int = _DEPTH) -> tuple[Spans, int]:
        """Where forms of secrets stand in a text, and from where on more text may make some.

        Args:
            text: begins where no escape is in progress.
            last: nothing comes behind it.
            depth: how often its escapes are read.
        """
        spans = self._find(text)
        settled = len(text) if last else self._prefix(text)
        if depth:
            whole = text if last else text[: begun(text)]
            settled = min(settled, len(whole))
            reading = unescaped(whole)
            if reading != text:  # also where only its last, unfinished escape is missing
                inner, inner_settled = self.look(reading, last=last, depth=depth - 1)
                if inner:
                    places = Places(whole)
                    spans += [(*places.of(start, end), form) for start, end, form in inner]
                if inner_settled < len(reading):
                    settled = min(settled, from_end(whole, len(reading) - inner_settled))
            settled = aligned(text, settled)
        return spans, settled

    def _cleaned(self, data: bytes) -> tuple[bytes, Counter[str]]:
        """What is whole, without the secrets: also those that a line break goes through."""
        stream = self.stream()
        made = stream.feed(data, last=True)
        parts: list[bytes] = []
        done = 0
        for start, end, form in sorted(self._broken(made), key=_leftmost_longest):
            if start >= done:
                name, mark = self.mark(form)
                stream.found[name] += 1
                parts += (made[done:start], mark)
            done = max(done, end)
        return b"".join((*parts, made[done:])), stream.found

    def _broken(self, data: bytes) -> Spans:
        """Where secrets stand that are coded and go on in the next line."""
        lines = Rejoined(data)
        found = self._find(lines.text) if lines.text else []
        return [(*lines.place(start, end), form) for start, end, form in found if lines.across(start, end)]

    def _prefix(self, text: bytes) -> int:
        """Where the first form begins that more text may complete."""
        start = max(0, len(text) - self._longest + 1)
        tail = text[start:]
        begins = [place for place, _, _ in self._stems(tail)]
        begins += range(max(0, len(tail) - _STEM + 1), len(tail))
        return next((start + place for place in begins if self._begins(tail[place:])), len(text))

    def _begins(self, text: bytes) -> bool:
        """Whether a form begins so and goes on."""
        place = bisect_left(self._forms, text)
        if place < len(self._forms) and self._forms[place] == text:
            place += 1
        return place < len(self._forms) and self._forms[place].startswith(text)


class RedactedStream:
    """Bytes in pieces: what comes out, taken together, does not depend on where they were cut.

    Only what may be the beginning of a secret is held back.
    """

    __slots__ = ("_covered", "_held", "_redactor", "found")

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = b""
        self._covered = 0
        """Bytes at the beginning of what is held that belong to a secret whose mark has been put."""
        self.found: Counter[str] = Counter()
        """How often each secret was taken out, by name."""

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """The next piece; what of all so far is without a secret for certain comes out."""
        if not self._redactor:
            return data
        text = self._held + data if self._held else data
        spans, settled = self._redactor.look(text, last=last)
        made: list[bytes] = []
        done = covered = min(self._covered, len(text))
        for start, end, form in sorted(spans, key=_leftmost_longest):
            if start >= settled:
                break
            if start >= covered:
                name, mark = self._redactor.mark(form)
                self.found[name] += 1
                made += (text[done:start], mark)
            done = covered = max(covered, end)
        if done < settled:
            made.append(text[done:settled])
        self._held, self._covered = text[settled:], max(0, covered - settled)
        return b"".join(made)

    def end(self) -> bytes:
        """What was held back: nothing comes any more."""
        return self.feed(b"", last=True)


class RedactedText:
    """A text in pieces, like `RedactedStream`."""

    __slots__ = ("_decoder", "_stream")

    def __init__(self, redactor: Redactor) -> None:
        self._stream = redactor.stream()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, text: str) -> str:
        """The next piece; what of all so far is without a secret for certain comes out."""
        return self._decoder.decode(self._stream.feed(text.encode("utf-8", "replace")))

    def end(self) -> str:
        """What was held back: nothing comes any more."""
        return self._decoder.decode(self._stream.end(), final=True)

    @property
    def found(self) -> Counter[str]:
        """How often each secret was taken out, by name."""
        return self._stream.found


def _in_characters(spans: list[tuple[int, int]], data: bytes) -> list[tuple[int, int]]:
    """Places in bytes as places in the text of which they are: each byte is read once."""
    chars, done, count = {}, 0, 0
    for place in sorted({place for span in spans for place in span}):
        count += len(data[done:place].decode("utf-8", "surrogatepass"))
        chars[place], done = count, place
    return [(chars[start], chars[end]) for start, end in spans]


def _leftmost_longest(span: tuple[int, int, int]) -> tuple[int, int, int]:
    return span[0], -span[1], span[2]
