"""Files are written, edited, moved, deleted, and all of it taken back."""

import asyncio
import os
import re
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from loom_nb.capabilities.files import FilesCapability, history
from loom_nb.capabilities.files.differences import difference
from loom_nb.errors import ToolError
from tests.capabilities.descriptors import open_below


def opened(root, **options):
    return asyncio.run(FilesCapability(str(root), read_only=False, **options).open())


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_text("import os\nprint('hello')\n# end\n")
    (folder / "report.csv").write_text("a,b\n1,2\n")
    return folder


@pytest.fixture
def tools(root):
    toolset = opened(root)
    yield {tool.name: tool for tool in toolset.tools}
    asyncio.run(toolset.close())


@pytest.fixture
def use(tools):
    def call(name, **arguments):
        tool = tools[name]
        return tool.function(**tool.validate(arguments))

    return call


@pytest.fixture
def tell(tools):
    def call(name, **arguments):
        return tools[name].assess(**tools[name].validate(arguments))

    return call


def picture(folder):
    """Everything below a folder: names, kinds, contents, modes."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        mode = path.lstat().st_mode
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (mode, content)
    return found


ACTING = [
    "write_file",
    "edit_file",
    "move_file",
    "delete_file",
    "make_folder",
    "edit_notebook",
    "undo_change",
]


def test_the_acting_tools_are_there_only_where_they_are_wanted(tools, root):
    reading = asyncio.run(FilesCapability(str(root)).open())

    assert list(tools)[6:] == ACTING
    assert not {tool.name for tool in reading.tools} & set(ACTING)
    assert all(tools[name].undoable and not tools[name].read_only and tools[name].assess for name in ACTING)
    assert all(p.get("description") for name in ACTING for p in tools[name].schema["properties"].values())
    assert all(tools[name].effects == {"writes", "runs"} for name in ACTING)
    asyncio.run(reading.close())


def test_a_new_file_is_written_with_the_folders_it_needs_and_told_before(use, tell, root):
    told = tell("write_file", path="out/deep/new.txt", content="words\n" * 16_000)

    assert told.effects == {"writes"}
    assert told.reasons == ("creates out/deep/new.txt (96 kB)", "makes the folder out/deep")
    assert told.paths == (str(root / "out" / "deep" / "new.txt"),)
    assert told.preview_kind == "diff"
    assert told.preview.startswith("--- (nothing)\n+++ out/deep/new.txt\n@@")
    assert "more lines; in all 16,000 added, 0 removed" in told.preview
    assert not (root / "out").exists()

    assert "creates out/deep/new.txt" in use("write_file", path="out/deep/new.txt", content="words\n")

    assert (root / "out" / "deep" / "new.txt").read_text() == "words\n"
    assert stat.S_IMODE((root / "out" / "deep" / "new.txt").stat().st_mode) == 0o666 & ~umask()
    use("undo_change")
    assert not (root / "out").exists()


def umask():
    now = os.umask(0o22)
    os.umask(now)
    return now


def test_a_file_is_overwritten_whole_and_keeps_its_mode_and_the_time_when_taken_back(use, tell, root):
    path = root / "report.csv"
    path.chmod(0o640)
    os.utime(path, (1_000_000_000, 1_000_000_000))

    told = tell("write_file", path="report.csv", content="a,b\n3,4\n")
    use("write_file", path="report.csv", content="a,b\n3,4\n")

    assert told.reasons == ("overwrites report.csv (8 bytes) with 8 bytes",)
    assert "-1,2\n+3,4" in told.preview
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("a,b\n3,4\n", 0o640)
    assert use("undo_change").startswith("taken back: overwrites report.csv")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("a,b\n1,2\n", 0o640)
    assert path.stat().st_mtime == 1_000_000_000


def test_the_seal_differs_when_the_file_does(tell, root):
    ask = {
        "write_file": {"path": "report.csv", "content": "x"},
        "edit_file": {"path": "report.csv", "old_text": "1", "new_text": "x"},
        "move_file": {"source": "src", "target": "lib"},
        "delete_file": {"path": "src"},
    }
    before = {name: tell(name, **arguments) for name, arguments in ask.items()}

    assert all(told.seal and told == tell(name, **ask[name]) for name, told in before.items())
    (root / "report.csv").write_text("a,b\n1,3\n")
    (root / "src" / "b.py").write_text("new")
    assert all(told.seal != tell(name, **ask[name]).seal for name, told in before.items())


def test_a_link_that_has_come_between_changes_the_seal(tell, root):
    (root / "other").mkdir()
    (root / "other" / "a.py").write_text("import os\nprint('hello')\n# end\n")
    before = tell("write_file", path="src/a.py", content="x")
    (root / "src").rename(root / "kept")
    (root / "src").symlink_to("other")

    after = tell("write_file", path="src/a.py", content="x")

    assert after.seal != before.seal
    assert after.paths == (str(root / "other" / "a.py"),)
    assert "a link leads to other/a.py" in after.reasons


def test_an_edit_changes_one_place_and_shows_the_difference(use, tell, root):
    arguments = {"path": "src/a.py", "old_text": "'hello'", "new_text": "'world'"}

    told = tell("edit_file", **arguments)

    assert told.reasons == ("changes src/a.py (line 2)",)
    assert told.preview == (
        "--- src/a.py\n+++ src/a.py\n@@ -1,3 +1,3 @@\n import os\n-print('hello')\n+print('world')\n # end"
    )
    use("edit_file", **arguments)
    assert (root / "src" / "a.py").read_text() == "import os\nprint('world')\n# end\n"


@pytest.mark.parametrize(
    ("old_text", "why"),
    [
        ("nowhere", "does not stand in"),
        ("  print('hello')", "line 2 begins like it"),
        ("o", r"stands 3 times .*\(lines 1, 1, 2\)"),
        ("", "empty"),
        ("new", "the same"),
    ],
)
def test_an_edit_that_is_not_clear_changes_nothing_and_says_why(use, tell, root, old_text, why):
    before = picture(root)

    with pytest.raises(ToolError) as caught:
        use("edit_file", path="src/a.py", old_text=old_text, new_text="new")
    told = tell("edit_file", path="src/a.py", old_text=old_text, new_text="new")

    assert re.search(why, str(caught.value))
    assert told.reasons[0].startswith("would fail as things are: ")
    assert told.effects == {"writes", "runs"}
    assert not told.refusal
    assert picture(root) == before


def test_every_place_is_exchanged_where_that_is_said(use, root):
    said = use("edit_file", path="src/a.py", old_text="o", new_text="0", replace_all=True)

    assert said == "done: changes src/a.py (3 places)"
    assert (root / "src" / "a.py").read_text() == "imp0rt 0s\nprint('hell0')\n# end\n"


@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_an_edit_keeps_the_encoding_and_the_ends_of_lines(use, root, codec):
    text = "Grüße aus Köln\r\neins und noch viel mehr Worte\r\nzwei\r\n"
    (root / "w.txt").write_bytes(text.encode(codec))

    use("edit_file", path="w.txt", old_text="Worte\nzwei", new_text="Wörter\ndrei")

    expected = "Grüße aus Köln\r\neins und noch viel mehr Wörter\r\ndrei\r\n"
    assert (root / "w.txt").read_bytes() == expected.encode(codec)
    use("undo_change")
    assert (root / "w.txt").read_bytes() == text.encode(codec)


def test_what_an_encoding_cannot_hold_is_refused(use, root):
    (root / "w.txt").write_bytes("Grüße".encode("latin-1"))

    with pytest.raises(ToolError, match="cannot hold '→'"):
        use("edit_file", path="w.txt", old_text="Gr", new_text="→")
    (root / "w.bin").write_bytes(bytes(range(256)))
    with pytest.raises(ToolError, match="binary"):
        use("edit_file", path="w.bin", old_text="A", new_text="B")


def test_an_overwritten_encoding_is_told(tell, root):
    (root / "w.txt").write_bytes("Grüße".encode("utf-16"))
    (root / "r.txt").write_bytes(b"a\r\nb\r\n")

    assert "it was UTF-16, it becomes UTF-8" in tell("write_file", path="w.txt", content="x").reasons
    assert "the ends of its lines change" in tell("write_file", path="r.txt", content="a\nb\n").reasons
    same = tell("write_file", path="report.csv", content="a,b\n1,2\n")
    assert "it has this very content already" in same.reasons
    assert same.preview == ""


def test_another_name_of_the_file_keeps_the_old_content(use, tell, root, tmp_path):
    os.link(root / "report.csv", tmp_path / "other.csv")

    told = tell("write_file", path="report.csv", content="new")
    use("write_file", path="report.csv", content="new")

    assert "it has 1 other name (hard link), which keeps the old content" in told.reasons
    assert (tmp_path / "other.csv").read_text() == "a,b\n1,2\n"
    use("edit_file", path="report.csv", old_text="new", new_text="newer")
    assert (tmp_path / "other.csv").read_text() == "a,b\n1,2\n"


def test_a_link_is_kept_and_what_it_leads_to_is_written(use, root):
    (root / "latest.csv").symlink_to("report.csv")

    use("write_file", path="latest.csv", content="new")

    assert (root / "latest.csv").is_symlink()
    assert (root / "report.csv").read_text() == "new"
    use("delete_file", path="latest.csv")
    assert (root / "report.csv").read_text() == "new"
    assert not os.path.lexists(root / "latest.csv")


def test_a_twin_of_a_name_is_told(tell, root):
    (root / "caf\u00e9.txt").write_text("x")

    assert (
        "there is café.txt already, which looks the same"
        in tell("write_file", path="cafe\u0301.txt", content="x").reasons
    )
    assert (
        "there is report.csv already, which looks the same"
        in tell("move_file", source="src/a.py", target="Report.CSV").reasons
    )


def test_secrets_are_not_shown_on_a_card(tell, root):
    (root / ".env").write_text("TOKEN=s3cret\n")

    told = tell("edit_file", path=".env", old_text="TOKEN", new_text="KEY")

    assert "s3cret" not in told.preview
    assert "holds secrets" in told.preview


def test_things_are_moved_never_over_others(use, tell, root):
    told = tell("move_file", source="src", target="lib/code")

    assert told.reasons[:2] == ("moves the folder src to lib/code (1 file, 31 bytes)", "makes the folder lib")
    assert told.preview == "src -> lib/code\n  a.py"
    assert told.paths == (str(root / "src"), str(root / "lib" / "code"))
    assert use("move_file", source="src", target="lib/code") == "done: moved src to lib/code"
    assert (root / "lib" / "code" / "a.py").exists()
    with pytest.raises(ToolError, match="there is 'lib' already"):
        use("move_file", source="report.csv", target="lib")
    with pytest.raises(ToolError, match="into itself"):
        use("move_file", source="lib", target="lib/code/lib")
    with pytest.raises(ToolError, match="does not exist"):
        use("move_file", source="src", target="x")
    use("undo_change")
    assert not (root / "lib").exists()
    assert (root / "src" / "a.py").exists()


def test_what_is_deleted_is_in_the_trash_and_comes_back(use, tell, root):
    before = picture(root)

    told = tell("delete_file", path="src")
    said = use("delete_file", path="src")

    assert told.reasons == ("moves the folder src (1 file, 31 bytes) to the trash",)
    assert not told.destructive
    assert not (root / "src").exists()
    kept = list((root / ".loom-trash").glob("*/src/a.py"))
    assert len(kept) == 1
    assert kept[0].parent.parent.name in said
    assert (root / ".loom-trash" / ".gitignore").read_text() == "*\n"
    assert "a.py" not in "".join(part.text for part in use("glob", pattern="**/*"))
    with pytest.raises(ToolError, match="deleted things are kept there"):
        use("delete_file", path=".loom-trash")
    use("undo_change")
    assert picture(root) == before


def test_a_trash_that_is_a_link_is_not_used(use, root, tmp_path):
    (tmp_path / "outside").mkdir()
    (root / ".loom-trash").symlink_to("../outside")

    with pytest.raises(ToolError, match="was not deleted"):
        use("delete_file", path="src")

    assert list((tmp_path / "outside").iterdir()) == []
    assert (root / "src" / "a.py").exists()


def test_a_folder_is_made_and_removed_again_if_nothing_has_come_into_it(use, root):
    use("make_folder", path="a/b/c")
    assert (root / "a" / "b" / "c").is_dir()
    with pytest.raises(ToolError, match="already"):
        use("make_folder", path="a/b")
    (root / "a" / "b" / "c" / "x").write_text("x")
    with pytest.raises(ToolError, match="not removed"):
        use("undo_change")
    (root / "a" / "b" / "c" / "x").unlink()
    use("undo_change")
    assert not (root / "a").exists()


def test_several_changes_are_taken_back_one_after_the_other(use, tell, root):
    before = picture(root)
    use("write_file", path="n.txt", content="1")
    use("edit_file", path="n.txt", old_text="1", new_text="2")
    use("move_file", source="n.txt", target="x/m.txt")
    use("delete_file", path="x/m.txt")
    use("make_folder", path="x/y")

    told = [tell("undo_change").reasons[0]]
    for _ in range(4):
        use("undo_change")
        told.append(tell("undo_change").reasons[0])
    last = use("undo_change")

    assert told == [
        "takes back: made the folder x/y",
        "takes back: deleted x/m.txt",
        "takes back: moved n.txt to x/m.txt",
        "takes back: changes n.txt (line 1)",
        "takes back: creates n.txt (1 bytes)",
    ]
    assert last == "taken back: creates n.txt (1 bytes); 0 earlier changes kept"
    assert picture(root) == before
    with pytest.raises(ToolError, match="nothing to take back"):
        use("undo_change")


def test_what_somebody_else_has_changed_since_is_not_taken_back(use, tell, root):
    use("write_file", path="report.csv", content="mine")
    (root / "report.csv").write_text("theirs")

    with pytest.raises(ToolError, match="changed since by someone else"):
        use("undo_change")
    assert (root / "report.csv").read_text() == "theirs"
    assert "changed since" in tell("undo_change").reasons[0]
    (root / "report.csv").unlink()
    with pytest.raises(ToolError, match="removed since"):
        use("undo_change")
    use("write_file", path="report.csv", content="again")
    use("delete_file", path="report.csv")
    (root / "report.csv").write_text("theirs")
    with pytest.raises(ToolError, match="something of that name again"):
        use("undo_change")


def test_a_move_is_taken_back_also_where_the_file_was_rewritten_and_set_back_between(use, root):
    before = picture(root)
    use("move_file", source="report.csv", target="x/r.csv")
    use("write_file", path="x/r.csv", content="other")
    use("undo_change")
    use("undo_change")

    assert picture(root) == before


def test_an_undo_does_not_follow_a_link_that_has_come_since(use, root):
    (root / "other").mkdir()
    (root / "other" / "a.py").write_text("mine")
    use("write_file", path="src/a.py", content="mine")
    (root / "src").rename(root / "away")
    (root / "src").symlink_to("other")

    with pytest.raises(ToolError, match="has come into it since"):
        use("undo_change")

    assert (root / "other" / "a.py").read_text() == "mine"


def test_only_so_many_changes_and_bytes_are_kept(use, root):
    for number in range(history.MAX_CHANGES + 5):
        use("write_file", path="n.txt", content=str(number))
    for _ in range(history.MAX_CHANGES):
        use("undo_change")
    with pytest.raises(ToolError, match="nothing to take back"):
        use("undo_change")
    assert (root / "n.txt").read_text() == "4"

    for name in "abcdefghij":
        (root / name).write_bytes(b"x" * 8_000_000)
        use("write_file", path=name, content="")
    undone = 0
    with suppress(ToolError):
        while True:
            use("undo_change")
            undone += 1
    assert undone == 8


def test_a_file_too_large_to_be_kept_is_told_to_be_lost(use, tell, root):
    with (root / "large.bin").open("wb") as file:
        file.truncate(history.MAX_KEPT_FILE + 1)

    told = tell("write_file", path="large.bin", content="small")

    assert told.destructive
    assert "the old content is too large to be kept (over 16.8 MB)" in told.reasons
    assert "cannot be taken back" in use("write_file", path="large.bin", content="small")
    with pytest.raises(ToolError, match="nothing to take back"):
        use("undo_change")


def test_a_text_that_is_too_large_is_refused(use, root):
    with pytest.raises(ToolError, match="the limit is 8.4 MB"):
        use("write_file", path="x", content="x" * 9_000_000)
    assert not (root / "x").exists()


def test_a_program_and_a_write_protected_file_are_told(use, tell, root):
    (root / "run.sh").write_text("echo")
    (root / "run.sh").chmod(0o755)
    (root / "fixed.txt").write_text("x")
    (root / "fixed.txt").chmod(0o444)

    assert "it is a program" in tell("edit_file", path="run.sh", old_text="echo", new_text="rm").reasons
    use("edit_file", path="run.sh", old_text="echo", new_text="rm")
    assert stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o755
    with pytest.raises(ToolError, match="write-protected"):
        use("write_file", path="fixed.txt", content="y")


def test_no_special_file_is_touched(use, tell, root, monkeypatch):
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
    for path in ("pipe", "sock"):
        for name, arguments in (
            ("write_file", {"path": path, "content": "x"}),
            ("edit_file", {"path": path, "old_text": "x", "new_text": "y"}),
            ("move_file", {"source": path, "target": "z"}),
            ("delete_file", {"path": path}),
        ):
            with pytest.raises(ToolError, match="no ordinary file"):
                use(name, **arguments)
            assert "no ordinary file" in tell(name, **arguments).refusal


LIMITED = """
import asyncio, os, resource, sys
from loom_nb.capabilities.files import FilesCapability
from loom_nb.errors import ToolError
root, how, uid = sys.argv[1], sys.argv[2], int(sys.argv[3])
toolset = asyncio.run(FilesCapability(root, read_only=False).open())
tools = {tool.name: tool.function for tool in toolset.tools}
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
elif uid:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
for name, arguments in (
    ("write_file", {"path": "report.csv", "content": "x" * 5000}),
    ("write_file", {"path": "new/deep/file.txt", "content": "x" * 5000}),
    ("edit_file", {"path": "report.csv", "old_text": "1", "new_text": "x" * 5000}),
):
    try:
        print(name, "DONE", tools[name](**arguments))
    except ToolError as error:
        print(name, str(error).replace(chr(10), " "))
if how != "full":
    for name, arguments in (
        ("delete_file", {"path": "src"}),
        ("move_file", {"source": "src", "target": "lib"}),
        ("make_folder", {"path": "lib"}),
    ):
        try:
            print(name, "DONE", tools[name](**arguments))
        except ToolError as error:
            print(name, str(error).replace(chr(10), " "))
"""


def limited(root, how, uid=0):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(LIMITED), str(root), how, str(uid)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_disk_that_takes_no_more_leaves_everything_as_it_was(root):
    before = picture(root)

    lines = limited(root, "full")

    assert [line.split(" ")[0] for line in lines] == ["write_file", "write_file", "edit_file"]
    assert all("was not written: File too large" in line and "nothing was changed" in line for line in lines)
    assert picture(root) == before


def test_a_folder_that_may_not_be_changed_stays_as_it_is(root):
    nobody = 65534 if os.getuid() == 0 else 0
    for folder in (root, *root.parents):
        with suppress(PermissionError):
            folder.chmod(folder.stat().st_mode | 0o055)
    (root / "report.csv").chmod(0o666)
    root.chmod(0o555)
    before = picture(root)
    try:
        lines = limited(root, "denied", nobody)
    finally:
        root.chmod(0o755)

    assert len(lines) == 6
    assert all("Permission denied" in line and "DONE" not in line for line in lines)
    assert picture(root) == before


def test_a_file_that_changes_while_it_is_written_is_left_alone(root, tools):
    """Somebody appends all the time; what is overwritten is always what was looked at."""
    stop = threading.Event()

    def append():
        while not stop.is_set():
            with (root / "report.csv").open("a") as file:
                file.write("more\n")

    worker = threading.Thread(target=append)
    worker.start()
    outcomes = set()
    try:
        for number in range(300):
            try:
                tools["write_file"].function(path="report.csv", content=f"mine {number}\n")
                outcomes.add("written")
            except ToolError as error:
                outcomes.add(error.title.rpartition(": ")[2])
    finally:
        stop.set()
        worker.join()

    assert outcomes <= {"written", "it has been changed meanwhile"}
    assert [path.name for path in root.iterdir() if path.name.endswith(".tmp")] == []


def test_changes_from_several_threads_come_one_after_the_other(root, tools):
    def count():
        for _ in range(25):
            while True:
                now = (root / "n.txt").read_text()
                try:
                    new = f"[{int(now[1:-1]) + 1}]"  # bracketed: "1" would also be found in "10"
                    tools["edit_file"].function(path="n.txt", old_text=now, new_text=new)
                    break
                except ToolError:
                    continue

    (root / "n.txt").write_text("[0]")
    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (root / "n.txt").read_text() == "[100]"


def test_a_closed_folder_changes_nothing_and_leaves_no_descriptor(root):
    toolset = opened(root)
    tools = {tool.name: tool for tool in toolset.tools}
    assert open_below(root.parent) == [str(root)]
    for name, arguments in (
        ("write_file", {"path": "a/b", "content": "x"}),
        ("write_file", {"path": "../x", "content": "x"}),
        ("write_file", {"path": "report.csv/x/y", "content": "x"}),
        ("edit_file", {"path": "report.csv", "old_text": "?", "new_text": "x"}),
        ("move_file", {"source": "src", "target": "src/x"}),
        ("move_file", {"source": "src", "target": "x"}),
        ("delete_file", {"path": "x"}),
        ("delete_file", {"path": "nothing"}),
        ("make_folder", {"path": "a"}),
        ("undo_change", {}),
    ):
        tools[name].assess(**arguments)
        with suppress(ToolError):
            tools[name].function(**arguments)
    asyncio.run(toolset.close())

    assert open_below(root.parent) == []
    with pytest.raises(ToolError, match="closed"):
        tools["write_file"].function(path="x", content="x")
    assert tools["write_file"].assess(path="x", content="x").reasons


def test_an_assessment_changes_nothing(tell, root):
    before = picture(root)
    tell("write_file", path="x/y/z", content="x")
    tell("edit_file", path="src/a.py", old_text="hello", new_text="x")
    tell("move_file", source="src", target="x/y")
    tell("delete_file", path="src")
    tell("make_folder", path="x/y")
    tell("undo_change")

    assert picture(root) == before


@pytest.mark.timeout(150)  # to compare all of it would take hours
def test_a_large_difference_is_bounded_in_length_and_in_time():
    before = "".join(f"{n % 7}\n" for n in range(200_000))
    after = "".join(f"{n % 11}\n" for n in range(200_000))

    text = difference(before, after, "big.txt")

    assert len(text.splitlines()) < 310
    assert "more lines" in text


def test_a_difference_counts_lines_from_the_top_and_tells_a_missing_line_feed():
    before = "".join(f"line {n}\n" for n in range(1, 101))
    after = before.replace("line 50\n", "line fifty\n").rstrip("\n")

    lines = difference(before, after, "x").splitlines()

    assert lines[2] == "@@ -47,7 +47,7 @@"
    assert lines[-1] == "+line 100  (no line feed at its end)"


NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b", "e/f/a", "link", "dlink/a"])
TEXTS = st.sampled_from(["", "one", "two\n", "one two one", "ü\r\n"])


class Undoing(RuleBasedStateMachine):
    """Whatever is done, undoing it step by step leads back through every earlier state."""

    @initialize()
    def begin(self):
        import tempfile

        self.home = tempfile.TemporaryDirectory()
        self.root = Path(self.home.name)
        (self.root / "d").mkdir()
        (self.root / "a").write_text("one")
        (self.root / "link").symlink_to("a")
        (self.root / "dlink").symlink_to("d")
        self.toolset = opened(self.root)
        self.tools = {tool.name: tool for tool in self.toolset.tools}
        self.states = [picture_without_trash(self.root)]

    def attempt(self, name, **arguments):
        self.tools[name].assess(**arguments)
        with suppress(ToolError):
            self.tools[name].function(**arguments)
            self.states.append(picture_without_trash(self.root))

    @rule(path=NAMES, content=TEXTS)
    def write(self, path, content):
        self.attempt("write_file", path=path, content=content)

    @rule(
        path=NAMES,
        old=st.sampled_from(["one", "t", "ü"]),
        new=st.sampled_from(["", "x"]),
        every=st.booleans(),
    )
    def edit(self, path, old, new, every):
        self.attempt("edit_file", path=path, old_text=old, new_text=new, replace_all=every)

    @rule(source=NAMES, to=NAMES)
    def move(self, source, to):
        self.attempt("move_file", source=source, target=to)

    @rule(path=st.sampled_from(["a", "b", "d", "d/a", "e", "e/f", "link", "dlink"]))
    def delete(self, path):
        self.attempt("delete_file", path=path)

    @rule(path=st.sampled_from(["d", "e", "e/f", "g/h", "a/b"]))
    def make(self, path):
        self.attempt("make_folder", path=path)

    @rule()
    def undo(self):
        if len(self.states) > 1:
            self.tools["undo_change"].function()
            self.states.pop()
            assert picture_without_trash(self.root) == self.states[-1]

    @invariant()
    def no_temporary_file_is_left(self):
        if hasattr(self, "root"):
            assert not list(self.root.rglob("*.tmp"))

    def teardown(self):
        if not hasattr(self, "root"):
            return
        while len(self.states) > 1:
            self.undo()
        assert not (self.root / ".loom-trash").exists()
        asyncio.run(self.toolset.close())
        self.home.cleanup()


def picture_without_trash(root):
    return {name: seen for name, seen in picture(root).items() if not name.startswith(".loom-trash")}


TestUndoing = Undoing.TestCase
TestUndoing.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
