"""Artifacts: what tools keep by name, what comes back of it, and what happens when a disk or a process fails."""

import asyncio
import io
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_nb import (
    Agent,
    FileSessionStore,
    LoomError,
    MemoryStore,
    Model,
    SessionConfig,
    SqliteStore,
    artifact,
    tool,
)
from loom_nb.errors import BorderError, LoomUsageError, StoreDamaged, StoreError
from loom_nb.events import ArtifactAdded, LogEntry, event_from_json, event_to_json
from loom_nb.models.scripted import Call
from loom_nb.protocols import current_call
from loom_nb.runtime.artifact_files import Files, files_beside
from loom_nb.runtime.artifact_tables import table_from_json, table_to_json
from loom_nb.runtime.artifacts import INLINE, Artifact, artifacts_of, packed, stored

STORES = {
    "memory": lambda folder: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "loom.db"),
    "files": lambda folder: FileSessionStore(folder / "sessions"),
}
DURABLE = {name: make for name, make in STORES.items() if name != "memory"}
BIG = bytes(range(256)) * 8_000


def keeping(*values, store=None, name="thing", then=lambda: "kept"):
    """An agent whose one tool keeps these values, each under the same name."""

    @tool(read_only=True)
    def keep() -> str:
        for value in values:
            artifact(name, *value) if isinstance(value, tuple) else artifact(name, value)
        return then()

    model = Model.scripted([Call("keep"), "done"])
    return Agent(model, tools=(keep,), session_store=store or MemoryStore())


def there_and_back(value, media_type=None, files=None):
    fact = event_from_json(event_to_json(stored(packed("x", value, media_type), files)))
    return Artifact(fact, files=files).value()


def agree(frame):
    data, _ = table_to_json(frame)
    pd.testing.assert_frame_equal(table_from_json(data), frame, check_freq=False)


# --- keeping


@pytest.mark.parametrize("kind", STORES)
async def test_what_a_tool_keeps_is_in_the_result_and_survives_the_reopening_of_its_store(kind, tmp_path):
    frame = pd.DataFrame({"city": ["Zürich", None], "count": [3, 4]})
    store = STORES[kind](tmp_path)
    async with keeping("words", b"\x00\xff", frame, {"a": [1, None]}, store=store).session(
        SessionConfig(id="s")
    ) as session:
        result = await session.run("go")
    if kind != "memory":
        store.close()
        store = STORES[kind](tmp_path)

    for found in (result.artifacts, artifacts_of(store.read("s"), files=files_beside(store))):
        text, data, table, plain = found
        assert [one.version for one in found] == [1, 2, 3, 4]
        assert (text.value(), data.value(), plain.value()) == ("words", b"\x00\xff", {"a": [1, None]})
        pd.testing.assert_frame_equal(table.value(), frame)
    store.close()


async def test_the_artifacts_of_a_run_are_awaited_as_its_result_is():
    run = keeping("one", "two").session().start("go")
    artifacts = await run.artifacts()
    assert [one.value() for one in artifacts] == ["one", "two"]
    assert artifacts == (await run).artifacts


async def test_the_same_name_is_a_new_version_and_both_are_there():
    artifacts = (await keeping("draft", "final", name="report").run("go")).artifacts

    assert artifacts.names == ["report"]
    assert [(one.version, one.value()) for one in artifacts] == [(1, "draft"), (2, "final")]
    assert artifacts["report"].value() == "final"
    assert len(artifacts[:1]) == 1 and artifacts[-1].version == 2
    with pytest.raises(LoomUsageError, match="kept: report") as refused:
        artifacts["reprt"]
    assert refused.value.fixes == ("artifacts['report']",)


async def test_versions_are_counted_in_each_run():
    @tool(read_only=True)
    def keep() -> str:
        artifact("a", "text")
        return ""

    agent = Agent(
        Model.scripted([Call("keep"), "1", Call("keep"), "2"]), tools=(keep,), session_store=MemoryStore()
    )
    async with agent.session() as session:
        await session.run("go")
        second = await session.run("go")
        assert [(one.run, one.version) for one in artifacts_of(session.events())] == [("r1", 1), ("r2", 1)]
    assert [one.version for one in second.artifacts] == [1]


async def test_the_fact_comes_between_the_start_and_the_end_of_its_call_and_names_it():
    result = await keeping("x").run("go")
    types = [entry.event.type for entry in result.events]
    (fact,) = [entry.event for entry in result.events if isinstance(entry.event, ArtifactAdded)]
    assert types.index("CallStarted") < types.index("ArtifactAdded") < types.index("CallFinished")
    assert fact.call_id == result.tools[0].id


async def test_async_tools_and_threads_that_carry_the_context_keep_artifacts_too():
    @tool(read_only=True)
    async def keep() -> str:
        artifact("here", "1")
        await asyncio.to_thread(artifact, "there", "2")
        return ""

    result = await Agent(Model.scripted([Call("keep"), "."]), tools=(keep,), session_store=MemoryStore()).run(
        "go"
    )
    assert result.artifacts.names == ["here", "there"]


def test_outside_of_a_tool_it_is_an_error_that_says_where_it_belongs():
    with pytest.raises(LoomUsageError, match="no tool of a run is running here"):
        artifact("x", "y")


async def test_after_the_end_of_the_run_it_is_an_error():
    contexts = []

    def remember():
        contexts.append(current_call.get())
        return ""

    result = await keeping(then=remember).run("go")
    with pytest.raises(LoomUsageError, match="the run is over"):
        contexts[0].artifact("late", "text")
    assert len(result.artifacts) == 0


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "it is a object"),
        (dict, "it is the class dict"),
        (3, "it is a int"),
        (None, "it is a NoneType"),
        ({1: 2}, "it would come back as something else"),
        ([math.nan], "it would come back as something else"),
        ([(1, 2)], "it would come back as something else"),
        ({"a": object()}, "it is not plain JSON"),
        (Path("/no/such/file"), "there is no file"),
        (Path("/dev/zero"), "there is no file"),
        (("text", "no type"), "is no media type"),
        ((pd.DataFrame({"a": [1]}), "image/png"), "a table is not kept as image/png"),
    ],
)
async def test_what_cannot_be_kept_is_refused_with_its_reason_and_the_model_reads_it(value, says):
    result = await keeping(value).run("go")
    assert result.tools[0].outcome == "error"
    assert says in result.tools[0].result
    assert len(result.artifacts) == 0


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "x" * 201, "\u202eevil", 3])
def test_a_name_is_one_visible_line(name):
    with pytest.raises(LoomUsageError, match="one line"):
        packed(name, "x")


# --- what comes back


@given(st.text(alphabet=st.characters(codec="utf-8")))
@settings(max_examples=50)
def test_a_text_comes_back_as_it_was(text):
    assert there_and_back(text) == text


def test_a_lone_surrogate_is_replaced_and_nothing_else():
    assert there_and_back("a\udc80b\r\n\x00\U0001f9f6") == "a\ufffdb\r\n\x00\U0001f9f6"


@given(st.binary())
@settings(max_examples=50)
def test_bytes_come_back_as_they_were(data):
    assert there_and_back(data) == data


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(alphabet=st.characters(codec="utf-8")),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), inner)
        ),
        max_leaves=20,
    ).filter(lambda value: isinstance(value, list | dict))
)
@settings(max_examples=100)
def test_plain_data_comes_back_as_it_was(value):
    back = there_and_back(value)
    assert json.dumps(back) == json.dumps(value)


def test_a_figure_and_its_axes_come_back_as_the_bytes_of_an_image():
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2])
    for value in (figure, axes):
        kept = packed("chart", value)
        assert (kept.kind, kept.media_type) == ("image", "image/png")
        assert kept.data.startswith(b"\x89PNG")
    assert b"<svg" in packed("chart", figure, "image/svg+xml").data
    assert packed("chart", figure, "application/pdf").data.startswith(b"%PDF")
    with pytest.raises(LoomUsageError, match="not drawn as"):
        packed("chart", figure, "image/webp")


def test_an_image_that_draws_itself_is_kept_as_png():
    class Picture:
        def _repr_png_(self):
            return b"\x89PNG\r\n\x1a\n..."

    assert there_and_back(Picture()) == b"\x89PNG\r\n\x1a\n..."


def test_a_file_is_kept_as_it_is_now(tmp_path):
    path = tmp_path / "Report <b>.csv"
    path.write_bytes(b"a,b\r\n1,2\n")
    kept = packed("report", path)
    path.write_bytes(b"changed")
    assert (kept.data, kept.media_type, kept.kind) == (b"a,b\r\n1,2\n", "text/csv", "data")
    assert kept.summary == "file Report <b>.csv"


TIMES = pd.to_datetime(["2024-01-01 12:00:00.123456", None, "1812-06-24"], format="ISO8601")
FRAMES = {
    "numbers": pd.DataFrame({"i": [1, -(2**63), 2**63 - 1], "f": [0.1, math.nan, -math.inf], "b": [True, False, True]}),
    "small numbers": pd.DataFrame({kind: np.array([1, 2], dtype=kind) for kind in ("int8", "uint64", "float32", "float16")}),
    "times": pd.DataFrame({"t": TIMES, "z": TIMES.tz_localize("UTC").tz_convert("Europe/Zurich"), "d": TIMES - TIMES[0]}),
    "units": pd.DataFrame({unit: TIMES.as_unit(unit) for unit in ("s", "ms", "us")}),
    "fixed offset": pd.DataFrame({"t": pd.to_datetime(["2024-01-01T00:00:00+05:30"])}),
    "nullable": pd.DataFrame({"i": pd.array([1, None], dtype="Int64"), "b": pd.array([True, None], dtype="boolean"), "f": pd.array([0.5, None], dtype="Float64"), "s": pd.array(["a", None], dtype="string")}),
    "texts": pd.DataFrame({"s": ["a", None, "\U0001f9f6\x00<b>"]}),
    "objects": pd.DataFrame({"o": pd.Series([None, True, 1, 1.5, "a", math.nan, math.inf, 10**30, pd.NA, pd.NaT, pd.Timestamp("2024-01-01")], dtype=object)}),
    "categories": pd.DataFrame({"c": pd.Categorical(["b", None, "a"], categories=["b", "a", "z"], ordered=True), "n": pd.Categorical([1, 2, 1])}),
    "labelled rows": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "rows by time": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2024", periods=2, tz="UTC", name="when")),
    "levels": pd.DataFrame([[1, 2], [3, 4]], index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", None]), columns=pd.MultiIndex.from_product([["x"], [2020, 2021]])),
    "equal names": pd.DataFrame([[1, "a"], [2, "b"]], columns=["x", "x"]),
    "number names": pd.DataFrame([[1, 2.5]], columns=[2020, 2021]),
    "counted from 5": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 9, 2, name="n")),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="int32"), "t": pd.Series([], dtype="datetime64[ns, UTC]")}),
    "no columns": pd.DataFrame(index=["a", "b"]),
    "nothing": pd.DataFrame(),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_a_table_comes_back_equal(name):
    agree(FRAMES[name])
    pd.testing.assert_frame_equal(there_and_back(FRAMES[name]), FRAMES[name], check_freq=False)


def test_objects_come_back_with_their_types():
    before = FRAMES["objects"]["o"].tolist()
    back = there_and_back(FRAMES["objects"])["o"].tolist()
    assert [type(value) for value in back] == [type(value) for value in before]
    assert back[7] == 10**30


def test_a_missing_object_comes_back_as_the_same_kind_of_missing():
    back = there_and_back(FRAMES["objects"])["o"].tolist()
    assert back[0] is None and math.isnan(back[5]) and back[8] is pd.NA and back[9] is pd.NaT


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(alphabet=st.characters(codec="utf-8"))
        )
    )
)
@settings(max_examples=50, deadline=None)
def test_any_table_of_numbers_and_texts_comes_back_equal(rows):
    agree(pd.DataFrame(rows, columns=["i", "f", "s"]).astype({"i": "int64", "f": "float64"}))


def test_other_objects_become_texts_and_the_summary_says_so():
    class Secretive:
        def __reduce__(self):
            raise AssertionError("nobody pickles")

        def __str__(self):
            return "an object"

    kept = packed("t", pd.DataFrame({"a": [1], "lists": [[1, 2]], "objects": [Secretive()]}))
    assert kept.summary == "table, 1 row × 3 columns; as texts: lists, objects"
    back = table_from_json(kept.data)
    assert back.loc[0].tolist() == [1, "[1, 2]", "an object"]


def test_a_series_is_a_table_of_one_column():
    assert there_and_back(pd.Series([1, 2], name="n"))["n"].tolist() == [1, 2]
    assert there_and_back(pd.Series([1, 2])).columns.tolist() == ["x"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"table": 2}',
        b'{"table":1,"index":{"names":[null],"range":[0,1,1]},"labels":{"names":[null],"levels":[{"dtype":"object","values":["a"]}]},"columns":[{"dtype":"os.system","values":[1]}]}',
    ],
)
def test_what_is_no_table_of_ours_is_refused(data):
    with pytest.raises(BorderError):
        table_from_json(data)


# --- large ones


@pytest.mark.parametrize("kind", DURABLE)
async def test_a_large_one_is_a_file_beside_the_store_and_the_log_stays_small(kind, tmp_path):
    store = DURABLE[kind](tmp_path)
    async with keeping(BIG, BIG, store=store).session(SessionConfig(id="s")) as session:
        result = await session.run("go")
    store.close()
    store = DURABLE[kind](tmp_path)

    (fact, _) = [entry.event for entry in store.read("s") if isinstance(entry.event, ArtifactAdded)]
    assert fact.data is None and fact.text is None and fact.size == len(BIG)
    assert [one.value() for one in result.artifacts] == [BIG, BIG]
    assert artifacts_of(store.read("s"), files=files_beside(store))[1].value() == BIG
    files = [path for path in files_beside(store).folder.rglob("*") if path.is_file()]
    assert [path.name for path in files] == [fact.sha256]
    store.close()


async def test_a_store_without_a_place_refuses_a_large_one_and_takes_one_at_the_edge():
    result = await keeping(b"x" * INLINE, b"x" * (INLINE + 1)).run("go")
    assert [one.size for one in result.artifacts] == [INLINE]
    assert "its store has no place for files" in result.tools[0].result


@pytest.mark.parametrize("kind", DURABLE)
async def test_a_flipped_byte_in_a_file_is_noticed(kind, tmp_path):
    store = DURABLE[kind](tmp_path)
    result = await keeping(BIG, store=store).run("go")
    (path,) = [path for path in files_beside(store).folder.rglob("*") if path.is_file()]
    damaged = bytearray(path.read_bytes())
    damaged[1234] ^= 1
    path.write_bytes(damaged)

    for use in (result.artifacts[0].value, lambda: result.artifacts[0].save(tmp_path / "out.bin")):
        with pytest.raises(StoreDamaged, match="damaged"):
            use()
    assert not (tmp_path / "out.bin").exists()
    again = await keeping(BIG, store=store).run("go")  # the same content again mends it
    assert again.artifacts[0].value() == result.artifacts[0].value() == BIG
    path.unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        result.artifacts[0].value()
    store.close()


def test_a_flipped_byte_in_the_log_is_noticed_too():
    fact = stored(packed("x", "text"), None)
    forged = ArtifactAdded("x", "text", fact.media_type, "", 4, fact.sha256, text="Text")
    with pytest.raises(StoreDamaged, match="SHA-256"):
        Artifact(forged).value()


def test_without_its_place_a_large_one_says_what_is_missing(tmp_path):
    fact = stored(packed("x", BIG), Files(tmp_path))
    with pytest.raises(LoomUsageError, match="a file beside its store"):
        Artifact(fact).value()


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_a_digest_leads_nowhere_else(tmp_path, digest):
    with pytest.raises(StoreDamaged, match="no SHA-256"):
        Files(tmp_path).get(digest)


def test_a_disk_that_refuses_is_told_and_leaves_nothing_behind(tmp_path):
    script = """
        import resource, signal, sys
        from pathlib import Path
        from loom_nb.errors import StoreError
        from loom_nb.runtime.artifact_files import Files
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        try:
            Files(Path(sys.argv[1])).put(bytes(2_000_000))
        except StoreError as error:
            print(error)
    """
    if sys.platform == "win32":
        pytest.skip("a limit on the size of files is a thing of POSIX")
    done = child(script, tmp_path / "files")
    assert "could not be written" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9")
@pytest.mark.parametrize("kind", DURABLE)
def test_a_process_that_dies_between_file_and_log_leaves_no_reference_to_nothing(kind, tmp_path):
    """It is killed while its tool runs, the file written and nothing committed; the next process goes on."""
    script = """
        import os, signal, sys
        from pathlib import Path
        from loom_nb import Agent, FileSessionStore, Model, SessionConfig, SqliteStore, artifact, tool
        from loom_nb.models.scripted import Call
        kind, folder = sys.argv[2], Path(sys.argv[1])
        store = SqliteStore(folder / "loom.db") if kind == "sqlite" else FileSessionStore(folder / "sessions")
        @tool
        def keep() -> str:
            artifact("thing", bytes(range(256)) * 8_000)
            if len(sys.argv) > 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return ""
        agent = Agent(Model.scripted([Call("keep"), "done"]), tools=(keep,), session_store=store)
        agent.session(SessionConfig(id="s"))
        import asyncio
        async def main():
            async with agent.session(SessionConfig(id="s")) as session:
                print((await session.run("go")).status)
        asyncio.run(main())
    """
    assert child(script, tmp_path, kind, "die").returncode == -signal.SIGKILL
    store = DURABLE[kind](tmp_path)
    files = files_beside(store)
    assert [path.stat().st_size for path in files.folder.rglob("*") if path.is_file()] == [len(BIG)]
    assert len(artifacts_of(store.read("s"), files=files)) == 0
    store.close()

    assert child(script, tmp_path, kind).stdout == "completed\n"
    store = DURABLE[kind](tmp_path)
    assert [one.value() for one in artifacts_of(store.read("s"), files=files)] == [BIG]
    store.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9")
def test_a_file_is_there_whole_or_not_at_all_whenever_its_writer_is_killed(tmp_path):
    script = """
        import sys
        from pathlib import Path
        from loom_nb.runtime.artifact_files import Files
        print("ready", flush=True)
        n = 0
        while True:
            n += 1
            Files(Path(sys.argv[1])).put(n.to_bytes(4, "big") * 50_000)
    """
    for delay in (0.0, 0.003, 0.011, 0.03, 0.05):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"ready\n"
        threading.Event().wait(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    names = [path.name for path in tmp_path.rglob("*") if path.is_file() and len(path.name) == 64]
    assert names
    assert all(len(Files(tmp_path).get(name)) == 200_000 for name in names)


def test_threads_that_keep_the_same_bytes_do_not_hurt_each_other(tmp_path):
    files, digests = Files(tmp_path), []
    threads = [threading.Thread(target=lambda: digests.append(files.put(BIG))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 8 and len(set(digests)) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [digests[0]]


@pytest.mark.skipif(sys.platform == "win32", reason="modes are a thing of POSIX")
def test_files_are_for_this_user_only(tmp_path):
    folder = tmp_path / "files"
    Files(folder).put(BIG)
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


# --- saving and showing


def one_of(value, name="thing", media_type=None):
    return Artifact(stored(packed(name, value, media_type), None))


def test_saving_writes_what_others_can_read(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    table = one_of(frame, "sales/2024: «q1»")
    assert table.save(tmp_path / "a.csv").read_text() == "a,b\n1,x\n2,y\n"
    assert table.save(tmp_path / "a.tsv").read_text() == "a\tb\n1\tx\n2\ty\n"
    assert json.loads(table.save(tmp_path / "a.json").read_text())["rows"] == 2
    assert table.save(tmp_path) == tmp_path / "sales-2024- -q1.csv"
    assert one_of({"a": 1}).save(tmp_path).read_text() == '{"a":1}'
    assert one_of("words").save(str(tmp_path)).name == "thing.txt"
    assert pd.read_csv(io.BytesIO(one_of(frame, media_type="text/csv").content())).equals(frame)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".csv",
        ".csv",
        ".json",
        ".json",
        ".tsv",
        ".txt",
    ]


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "..", ".", "C:\\x", "a/b"])
def test_a_name_cannot_lead_out_of_the_folder_it_is_saved_in(tmp_path, name):
    folder = tmp_path / "in"
    folder.mkdir()
    saved = one_of("x", name).save(folder)
    assert saved.parent == folder and saved.exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_it_is_shown_as_plain_text_and_never_as_markup():
    nasty = "<img src=x onerror=alert(1)>\x1b[31m\u202e"
    for value in (nasty, {"a": nasty}, pd.DataFrame({nasty: [nasty]}), b"%PDF-" + nasty.encode()):
        bundle = one_of(value)._repr_mimebundle_()
        assert set(bundle) == {"text/plain"}
        assert "\x1b" not in bundle["text/plain"] and "\u202e" not in bundle["text/plain"]
    svg = one_of(b"<svg onload='alert(1)'/>", media_type="image/svg+xml")
    assert set(svg._repr_mimebundle_()) == {"text/plain"}


def test_an_image_is_shown_as_one():
    bundle = one_of(b"\x89PNG\r\n\x1a\n")._repr_mimebundle_()
    assert bundle["image/png"] == "iVBORw0KGgo="
    assert bundle["text/plain"] == "<Artifact thing · image · 8 B>"


def test_a_listing_says_name_kind_and_size():
    artifacts = artifacts_of(
        LogEntry("s", n, "r1", 0.0, stored(packed("a", value), None))
        for n, value in enumerate(["x\ny", b"."], 1)
    )
    assert repr(artifacts) == (
        "<Artifact a · text, 2 lines · 3 B>\n<Artifact a (version 2) · application/octet-stream · 1 B>"
    )
    assert repr(artifacts_of([])) == "<no artifacts>"


def test_every_refusal_is_an_error_of_ours():
    with pytest.raises(LoomError):
        packed("x", object())


def child(script: str, *arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
