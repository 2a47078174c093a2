"""The splitter of server-sent events: the same bytes give the same events, however they arrive."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_nb.errors import BorderError
from loom_nb.models.sse import EventSplitter


def split(*chunks: bytes) -> list[bytes]:
    splitter = EventSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return [*events, *splitter.end()]


def by_the_standard(stream: bytes) -> list[bytes]:
    """A slow reading, line by line, as the standard describes it; the oracle."""
    lines = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    events: list[bytes] = []
    data: list[bytes] = []
    for line in lines[:-1]:
        field, _, value = line.partition(b":")
        if not line:
            events.append(b"\n".join(data))
            data = []
        elif field == b"data":
            data.append(value[1:] if value.startswith(b" ") else value)
    events.append(b"\n".join(data))
    return [event for event in events if event]


def test_an_event_is_the_data_between_blank_lines():
    assert split(b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n') == [b'{"a":1}', b'{"b":2}', b"[DONE]"]


def test_names_ids_comments_and_empty_events_are_dropped():
    stream = b": warm\n\nevent: delta\nid: 7\ndata: x\n\nevent: ping\n\nretry: 5\n\n"
    stream += b"data:\n\ndatabase: no\n\ndata\n\n"

    assert split(stream) == [b"x"]


def test_several_lines_of_data_are_joined_and_one_space_is_taken_away():
    assert split(b"data: a\ndata:b\ndata:  c\n\n") == [b"a\nb\n c"]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_every_kind_of_newline_is_read(newline: bytes):
    stream = newline.join([b"event: x", b"data: a", b"", b"data: b", b"", b""])

    assert split(stream) == [b"a", b"b"]
    assert split(*[stream[n : n + 1] for n in range(len(stream))]) == [b"a", b"b"]


def test_an_event_is_given_as_soon_as_its_blank_line_is_there():
    splitter = EventSplitter()

    assert list(splitter.feed(b"data: a\r\n\r")) == [b"a"]
    assert list(splitter.feed(b"\ndata: b\n")) == []
    assert list(splitter.feed(b"\n")) == [b"b"]


def test_the_last_event_may_lack_its_blank_line_but_not_its_newline():
    assert split(b"data: a\n\ndata: b\n") == [b"a", b"b"]
    assert split(b"data: a\n\ndata: b") == [b"a"]


def test_an_event_without_an_end_is_refused_before_it_fills_the_memory():
    splitter = EventSplitter(max_bytes=1000)

    for _ in range(15):
        splitter.feed(b"x" * 64)
    with pytest.raises(BorderError, match="longer than 1,000 bytes"):
        splitter.feed(b"x" * 64)


LINES = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data:  c",
        b"data",
        b"data:",
        b"event: e",
        b"event:e",
        b"id: 1",
        b": c",
        b"",
        b"",
        b"x",
    ]
)
NEWLINES = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, NEWLINES).map(b"".join) | st.binary(max_size=6), max_size=24).map(
    b"".join
)


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 200), max_size=12), mark=st.booleans())
def test_any_chunking_gives_the_events_of_the_standard(stream: bytes, cuts: list[int], mark: bool):
    stream = b"\xef\xbb\xbf" + stream if mark else stream
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(edges)]

    assert split(*chunks) == by_the_standard(stream)
