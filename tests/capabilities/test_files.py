import asyncio
import os
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_nb.capabilities import Capability, files
from loom_nb.errors import LoomUsageError, SetupError, ToolError
from tests.capabilities.descriptors import open_below


@pytest.fixture
def home(tmp_path):
    """A folder to work in, beside something that must not be reached."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("s3cret")
    (tmp_path / "secret.txt").write_text("s3cret")
    root = tmp_path / "root"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "src" / "a.py").write_text("import os\nprint('hello')\n# end\n")
    (root / "src" / "deep" / "b.py").write_text("print('Hello again')\n")
    (root / "notes.txt").write_text("\n".join(f"line {n}" for n in range(1, 1001)) + "\n")
    (root / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    (root / "empty").write_text("")
    (root / ".git").mkdir()
    (root / ".git" / "config.py").write_text("hello")
    (root / "inside").symlink_to("src")
    (root / "out_file").symlink_to("../secret.txt")
    (root / "out_folder").symlink_to("../outside")
    (root / "out_absolute").symlink_to(tmp_path / "secret.txt")
    (root / "loop").symlink_to("loop")
    (root / "src" / "up").symlink_to("../notes.txt")
    (root / "src" / "around").symlink_to("../../root/notes.txt")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
async def use(home):
    toolset = await Capability.files(str(home)).open()
    tools = {tool.name: tool for tool in toolset.tools}

    async def call(name, **arguments):
        tool = tools[name]
        made = tool.function(**tool.validate(arguments))
        parts = await made if tool.is_async else made
        assert all(part.origin.kind == "file" for part in parts)
        return "\n".join(part.text if hasattr(part, "text") else repr(part)[:20] for part in parts)

    call.tools = tools
    yield call
    await toolset.close()


async def test_the_tools_only_read(use):
    assert list(use.tools) == ["read_file", "list_files", "tree", "read_notebook", "glob", "grep"]
    assert all(tool.read_only and tool.idempotent and tool.description for tool in use.tools.values())
    assert all(p.get("description") for t in use.tools.values() for p in t.schema["properties"].values())


async def test_a_file_is_read_by_lines(use, home):
    size = (home / "notes.txt").stat().st_size

    assert await use("read_file", path="src/a.py") == (
        "src/a.py (31 bytes, lines 1-3)\nimport os\nprint('hello')\n# end"
    )
    assert (await use("read_file", path="notes.txt", start_line=999)).splitlines()[1:] == [
        "line 999",
        "line 1000",
    ]
    assert (await use("read_file", path="notes.txt", start_line=5, line_count=2)).splitlines() == [
        f"notes.txt ({size:,} bytes, lines 5-6, more follows: start_line=7)",
        "line 5",
        "line 6",
    ]
    assert "empty" in await use("read_file", path="empty")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../secret.txt", r"'\.\.'"),
        ("src/../../secret.txt", r"'\.\.'"),
        ("src/../notes.txt", r"'\.\.'"),
        ("..", r"'\.\."),
        ("/etc/passwd", "relative"),
        ("//etc/passwd", "relative"),
        ("/proc/self/environ", "relative"),
        ("\\\\host\\share", "relative"),
        ("C:\\windows", "relative"),
        ("~/x", "~"),
        ("~root/x", "~"),
        ("notes.txt\0.png", "NUL"),
        ("\ud800", "Unicode"),
        ("out_file", "leads out"),
        ("out_folder/secret.txt", "leads out"),
        ("out_absolute", "leads out"),
        ("src/around", "leads out"),
        ("inside/../out_file", r"'\.\."),
        ("loop", "leads to itself"),
        ("pipe", "no ordinary file"),
        ("src", "is a folder"),
        (".", "is a folder"),
        ("", "is a folder"),
        ("missing.txt", "No such file"),
        ("notes.txt/x", "Not a directory"),
        ("x" * 5000, "too long"),
        ("x" * 300, "File name too long"),
        ("a/" * 5000, "too long"),
        ("a/" * 100, "No such file"),
    ],
)
async def test_a_path_that_leads_out_is_refused_and_says_why(use, path, why):
    with pytest.raises(ToolError, match=why) as caught:
        await use("read_file", path=path)

    assert "s3cret" not in str(caught.value)
    if "\0" not in path and "\ud800" not in path and len(path) < 200 and path not in ("", ".", "src", "pipe"):
        with pytest.raises(ToolError):
            await use("list_files", path=path)


async def test_links_that_stay_inside_are_followed(use):
    assert "print('hello')" in await use("read_file", path="inside/a.py")
    assert "line 1" in await use("read_file", path="src/up")
    assert "line 1" in await use("read_file", path="inside/up")
    assert "./src//deep/./b.py" in await use("read_file", path="./src//deep/./b.py")


async def test_a_socket_is_refused(use, home, monkeypatch):
    monkeypatch.chdir(home)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        with pytest.raises(ToolError):
            await use("read_file", path="sock")


async def test_the_system_is_refused_even_where_the_root_is_the_whole_machine():
    toolset = await Capability.files("/").open()
    read = toolset.tools[0].function

    with pytest.raises(ToolError, match="/proc"):
        read(path="proc/self/environ")
    with pytest.raises(ToolError):
        read(path="dev/zero")
    await toolset.close()


async def test_binary_files_are_named_not_read(use, home):
    (home / "table.parquet").write_bytes(b"PAR1\x15\0\x15\x02")
    with pytest.raises(ToolError, match=r"binary file \(.*, 8 bytes\)"):
        await use("read_file", path="table.parquet")
    with pytest.raises(ToolError, match=r"binary file \(image/png, 11 bytes\) that is damaged"):
        await use("read_file", path="picture.png")


ENCODED = [
    ("utf-8", "", False),
    ("utf-8-sig", "", False),
    ("utf-16", "UTF-16", False),
    ("utf-32", "UTF-32", False),
    ("utf-16-le", "UTF-16 without a mark: a guess", True),
    ("utf-16-be", "UTF-16 without a mark: a guess", True),
    ("cp1252", "Windows-1252: a guess", True),
    ("latin-1", "Windows-1252: a guess", True),
]


@pytest.mark.parametrize(("codec", "note", "guessed"), ENCODED)
async def test_the_encoding_is_found_and_a_guess_is_said(use, home, codec, note, guessed):
    (home / "words.txt").write_bytes("Grüße aus Köln\nzwei\ndrei\n".encode(codec))

    text = await use("read_file", path="words.txt", line_count=2)

    assert text.splitlines()[1:] == ["Grüße aus Köln", "zwei"]
    assert note in text.splitlines()[0]
    assert ("guess" in text) is guessed
    assert "more follows: start_line=3" in text


async def test_encodings(use, home):
    (home / "wide.txt").write_bytes("Grüße\nzwei\n".encode("utf-16"))
    (home / "marked.txt").write_bytes(b"\xef\xbb\xbfmarked\n")
    (home / "latin.txt").write_bytes("Grüße".encode("latin-1"))

    assert "Grüße\nzwei" in await use("read_file", path="wide.txt")
    assert (await use("read_file", path="marked.txt")).endswith("\nmarked")
    assert "Grüße" in await use("read_file", path="latin.txt")


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cf"
    "c0f01f0005050201a5c8b0c10000000049454e44ae426082"
)


async def test_images_and_pdfs_are_looked_at(use, home):
    (home / "dot.dat").write_bytes(PIXEL)
    (home / "paper.pdf").write_bytes(b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer <<>>\n%%EOF\n")
    (home / "half.pdf").write_bytes(b"%PDF-1.4\n1 0 obj\n")
    read = use.tools["read_file"].function

    words, image = read("dot.dat")
    assert (image.media_type, image.data, image.name, image.origin.source) == (
        "image/png",
        PIXEL,
        "dot.dat",
        "dot.dat",
    )
    assert words.text == f"dot.dat (image/png, {len(PIXEL)} bytes)"
    assert read("paper.pdf")[1].media_type == "application/pdf"
    with pytest.raises(ToolError, match="damaged or cut off"):
        read("half.pdf")
    with (home / "large.png").open("wb") as file:
        file.write(PIXEL)
        file.truncate(9_000_000)
    with pytest.raises(ToolError, match="too large"):
        read("large.png")


async def test_a_tree_shows_folders_within_folders(use):
    assert (await use("tree")).splitlines() == [
        ".git/ ...",
        "empty",
        "inside (link)",
        "loop (link)",
        "notes.txt",
        "out_absolute (link)",
        "out_file (link)",
        "out_folder (link)",
        "picture.png",
        "pipe",
        "src/",
        "  a.py",
        "  around (link)",
        "  deep/",
        "    b.py",
        "  up (link)",
    ]
    assert (await use("tree", path="src", depth=1)).splitlines() == [
        "a.py",
        "around (link)",
        "deep/",
        "up (link)",
    ]
    with pytest.raises(ToolError, match="depth"):
        await use("tree", depth=0)


async def test_a_name_with_unseen_characters_is_escaped_in_listings(use, home):
    (home / "src" / "gone\nroot/".replace("/", "")).write_text("x")
    (home / "src" / "rtl\u202egnp.exe").write_text("x")

    text = await use("list_files", path="src")

    assert "gone\\nroot" in text
    assert "rtl\\u202egnp.exe" in text


async def test_an_absolute_link_into_the_folder_is_followed(use, home):
    (home / "whole").symlink_to(home / "src" / "a.py")
    (home / "almost").symlink_to(f"{home}x/secret.txt")

    assert "hello" in await use("read_file", path="whole")
    with pytest.raises(ToolError, match="leads out"):
        await use("read_file", path="almost")


async def test_a_search_passes_over_files_that_hold_secrets_by_their_names(use, home):
    (home / ".env").write_text("hello=s3cret")

    text = await use("grep", pattern="hello")

    assert "s3cret" not in text
    assert "(not searched, by their names they hold secrets: .env)" in text


async def test_what_is_read_is_told_with_its_real_path(use, home):
    about = use.tools["read_file"].assess

    assert about(path="inside/a.py").paths == (str(home / "src" / "a.py"),)
    assert about(path="src/../x").refusal
    assert about(path="out_file", start_line=3).refusal
    assert not about(path="missing.txt").refusal
    assert use.tools["grep"].assess(pattern="x", glob="src/*.py").paths == (str(home / "src"),)
    assert use.tools["glob"].assess(pattern="**/*").paths == (str(home),)
    assert use.tools["glob"].assess(pattern="/etc/*").refusal
    assert use.tools["list_files"].assess().paths == (str(home),)


@pytest.mark.parametrize(
    "wrong", [{"start_line": 0}, {"line_count": 0}, {"line_count": 5000}, {"start_line": 2000}]
)
async def test_wrong_line_numbers_are_refused(use, wrong):
    with pytest.raises(ToolError, match="line"):
        await use("read_file", path="notes.txt", **wrong)


async def test_a_huge_file_is_read_in_pieces_with_bounded_memory_and_long_lines_are_cut(use, home):
    with (home / "huge.txt").open("wb") as file:
        file.write(b"x" * 3_000_000 + b"\nsecond\n")
        file.truncate(2**42)  # to read it all would take an hour

    text = await use("read_file", path="huge.txt", line_count=2)

    assert len(text) < 3_000
    assert text.splitlines()[1].endswith("... (the line goes on)")
    assert text.splitlines()[2] == "second"
    with pytest.raises(ToolError, match="64 MB"):
        await use("read_file", path="huge.txt", start_line=9_000)


async def test_a_folder_is_listed_with_sizes_and_kinds(use, home):
    lines = (await use("list_files")).splitlines()
    size = (home / "notes.txt").stat().st_size

    assert lines[0] == ".git/"
    assert {"src/", f"notes.txt  {size:,} bytes", "out_file (link)", "inside (link)", "pipe  0 bytes"} <= set(
        lines
    )
    assert await use("list_files", path="src/deep") == "b.py  21 bytes"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.py", []),
        ("**/*.py", ["src/a.py", "src/deep/b.py"]),
        ("src/**", ["src/a.py", "src/deep/b.py"]),
        ("src/*.py", ["src/a.py"]),
        ("**/deep/*", ["src/deep/b.py"]),
        ("s?c/[ab].py", ["src/a.py"]),
        ("**/.git/*.py", [".git/config.py"]),
        ("./notes.*", ["notes.txt"]),
        ("**/**/b.py", ["src/deep/b.py"]),
        ("src", []),
    ],
)
async def test_files_are_found_by_name(use, pattern, expected):
    text = await use("glob", pattern=pattern)

    assert text.splitlines() == (expected or [f"no file matches {pattern}"])


@pytest.mark.parametrize("pattern", ["../*", "/etc/*", "~/*", "a\0", "", "*" * 30, "x" * 600])
async def test_a_pattern_that_leads_out_is_refused(use, pattern):
    with pytest.raises(ToolError):
        await use("glob", pattern=pattern)
    with pytest.raises(ToolError):
        await use("grep", pattern="x", glob=pattern)


async def test_lines_are_found_by_an_expression(use):
    assert await use("grep", pattern="hello") == "src/a.py:2: print('hello')"
    assert (await use("grep", pattern="HELLO", ignore_case=True)).splitlines() == [
        "src/a.py:2: print('hello')",
        "src/deep/b.py:1: print('Hello again')",
    ]
    assert (await use("grep", pattern=r"^line \d$", glob="*.txt")).splitlines()[-1] == "notes.txt:9: line 9"
    assert await use("grep", pattern="nowhere") == "no match in 4 files"
    assert "s3cret" not in await use("grep", pattern="s.cret")


async def test_a_wrong_expression_is_an_error(use):
    with pytest.raises(ToolError, match="not valid"):
        await use("grep", pattern="(")


async def test_matches_and_large_files_are_bounded_and_said(use, home):
    (home / "large.log").write_text("line\n" * 300_000)

    lines = (await use("grep", pattern="line")).splitlines()

    assert len([line for line in lines if line.startswith("notes.txt:")]) == 200
    assert "(the first 200 matches; narrow the search for the rest)" in lines
    assert "(not searched, over 1 MB: large.log)" in lines


async def test_an_expression_that_never_ends_is_stopped_and_its_process_is_gone(use, home):
    (home / "trap.txt").write_text("a" * 40 + "!\n")
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.05)

    ticking = asyncio.create_task(tick())
    with pytest.raises(ToolError, match="longer than 5 seconds"):
        await use("grep", pattern="(a+)+$", glob="trap.txt")
    ticking.cancel()

    assert len(ticks) > 5  # the loop lived on meanwhile
    assert children() == []


async def test_a_cancelled_search_leaves_no_process(use, home):
    (home / "trap.txt").write_text("a" * 40 + "!\n")
    search = asyncio.create_task(use("grep", pattern="(a+)+$", glob="trap.txt"))
    while not children():
        await asyncio.sleep(0.01)

    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search

    assert children() == []


def children():
    import psutil

    return [child.pid for child in psutil.Process().children() if "json.load" in " ".join(child.cmdline())]


async def test_no_name_that_is_exchanged_during_the_walk_leads_out(use, home):
    """A folder and a link out of the root change places as fast as they can while it is read."""
    (home / "swap").mkdir()
    (home / "swap" / "secret.txt").write_text("mine")
    (home / "swap_link").symlink_to("../outside")
    stop = threading.Event()

    def exchange():
        while not stop.is_set():
            for one, other in (("swap", "x"), ("swap_link", "swap"), ("swap", "swap_link"), ("x", "swap")):
                (home / one).rename(home / other)

    worker = threading.Thread(target=exchange)
    worker.start()
    seen = set()
    try:
        for _ in range(5_000):
            try:
                seen.add((await use("read_file", path="swap/secret.txt")).splitlines()[-1])
            except ToolError:
                seen.add("refused")
    finally:
        stop.set()
        worker.join()

    assert seen == {"mine", "refused"}


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(["..", ".", "src", "inside", "out_folder", "up", "secret.txt", "", "~", "\\"])
    )
)
def test_no_mixture_of_names_leads_out(tmp_path_factory, parts):
    base = tmp_path_factory.getbasetemp() / "mixture"
    if not base.exists():
        (base / "root" / "src").mkdir(parents=True)
        (base / "secret.txt").write_text("s3cret")
        (base / "root" / "out_folder").symlink_to("..")
        (base / "root" / "inside").symlink_to("src")
        (base / "root" / "src" / "up").symlink_to("../..")
    folder = files.Folder(str(base / "root"))
    try:
        with folder.open_file("/".join(parts)) as file:
            assert file.read() != b"s3cret"
    except ToolError:
        pass
    finally:
        folder.close()


async def test_a_closed_folder_reads_nothing_and_leaves_no_descriptor(home):
    toolset = await Capability.files(str(home)).open()
    tools = {tool.name: tool.function for tool in toolset.tools}
    assert open_below(home.parent) == [str(home)]
    for path in ("notes.txt", "out_file", "missing", "src/deep/b.py", "inside/up", "pipe", "src"):
        try:
            tools["read_file"](path)
        except ToolError:
            continue
    tools["glob"]("**/*")
    await toolset.close()
    await toolset.close()

    with pytest.raises(ToolError, match="closed"):
        tools["read_file"]("notes.txt")
    assert open_below(home.parent) == []


async def test_opening_a_folder_that_is_not_there_says_so(tmp_path):
    with pytest.raises(SetupError, match="nowhere"):
        await Capability.files(str(tmp_path / "nowhere")).open()


def test_a_mistyped_field_is_named():
    with pytest.raises(LoomUsageError, match=r"no field 'rot'.*\n.*\n.*root="):
        Capability.files(rot=".")


def test_the_description_opens_nothing_and_is_a_value(tmp_path):
    missing = str(tmp_path / "nowhere")

    assert Capability.files(missing) == Capability.files(root=missing)
    assert Capability.files(missing).name == "files"
    assert hash(Capability.files()) == hash(Capability.files("."))
