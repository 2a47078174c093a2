"""Questions at the desk: what a card shows, what an answer must be, what is typed where no card appears."""

import asyncio
import os
import pty
import time
from contextlib import contextmanager

import msgspec
import pytest

from loom_nb import Agent, GovernancePolicy, MemoryStore, Model, Runtime
from loom_nb.messages import Origin
from loom_nb.models.scripted import Call
from loom_nb.notebook import question_view as views
from loom_nb.notebook.asking import Desk, Faces, Pages, faces_for
from loom_nb.notebook.question_view import Entries, EntriesRefused, Where
from loom_nb.notebook.typed import TerminalLines, converse
from loom_nb.questions import Approval, Decision, Option, Question, checked
from loom_nb.testing.clock import ManualClock
from tests.notebook.kernels import kernel

HERE = Where("r7", 2, now=1000.0)
EVIL = "out/\u202egpj.exe\u200b\U000e0041"


def approval(**changes):
    about = {
        "call_id": "c1",
        "tool": "save_report",
        "arguments": {"path": "out/report.csv", "rows": 3},
        "key": "k",
        "effects": ("writes",),
        "reasons": ("writes a file",),
    }
    return Question(
        "a3", "approval", "save_report: writes", expires=1600.0, approval=Approval(**(about | changes))
    )


FORM = {
    "type": "object",
    "required": ["name", "count", "size", "tags"],
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer", "minimum": 1},
        "share": {"type": "number"},
        "size": {"enum": ["small", 2]},
        "keep": {"type": "boolean", "default": True},
        "tags": {"type": "array", "items": {"type": "string"}},
        "kinds": {"type": "array", "items": {"enum": ["x", "y", "z"]}},
        "more": {"type": "object", "default": {"a": 1}},
    },
}


# --- what is shown -----------------------------------------------------------------------------------


def test_a_card_shows_the_whole_call_and_all_that_is_known_of_it():
    question = approval(
        arguments={"path": EVIL, "text": "a\nb", "many": list(range(200))},
        origins={"path": "a web page (https://example.org)"},
        sandbox="none",
        mode="all",
        destructive=True,
        preview="-1\n+2\n+3",
        preview_kind="diff",
    )
    content = views.content(question, HERE)
    assert content["title"] == "Approval a3 · writes, cannot be undone"
    assert content["place"] == "run r7, step 2"
    assert content["seconds"] == 600
    assert content["unanswered"] == "no answer: denied"
    arguments = dict(content["call"]["arguments"])
    assert arguments["path"] == '"out/⟨U+202E⟩gpj.exe⟨U+200B⟩⟨U+E0041⟩"'
    assert arguments["text"] == "a\nb"
    assert arguments["many"].count(",") == 199
    aspects = {aspect["name"]: (aspect["lines"], aspect["warning"]) for aspect in content["aspects"]}
    assert aspects["Why it asks"] == (("writes a file",), False)
    assert aspects["Not from you"] == (("path came from a web page (https://example.org)",), True)
    assert aspects["Sandbox"][1] is True
    assert aspects["Mode"][1] is True
    assert content["preview"]["title"] == "Would change: 2 lines added, 1 removed"
    assert [line[0][0] for line in content["preview"]["lines"]] == ["removed", "added", "added"]
    assert msgspec.json.decode(msgspec.json.encode(content)) is not None

    plain = views.plain(question, HERE)
    for words in ("⟨U+202E⟩", "    | +2", "! Sandbox", "! Not from you", "| b"):
        assert words in plain
    assert "\u202e" not in plain
    assert "\u202e" not in str({**content, "fields": []})


def test_a_question_whose_words_are_foreign_says_so():
    question = Question(
        "q1", "text", "Who?", text="ignore\u200b all", origin=Origin("web", "https://example.org")
    )
    content = views.content(question, HERE)
    assert content["foreign"] == "from a web page (https://example.org)"
    assert content["text"] == "ignore⟨U+200B⟩ all"
    assert "! these words come from a web page" in views.plain(question, HERE)


def test_only_ways_that_are_offered_are_shown():
    assert [way.key for way in views.ways(approval().approval)] == ["o", "a", "s", "e", "d"]
    assert [way.key for way in views.ways(approval(scopes=("once",), arguments={}).approval)] == ["o", "d"]


def test_code_is_coloured_and_loses_nothing():
    code = "# note\nif x:\n    print('a', 1)\n"
    lines = views.content(approval(preview=code, preview_kind="code"), HERE)["preview"]["lines"]
    assert "\n".join("".join(text for _, text in line) for line in lines) == code
    assert ["keyword", "if"] in [list(span) for line in lines for span in line]


# --- what is entered ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "decision"),
    [
        (Entries("once"), Decision("allow")),
        (Entries("call"), Decision("allow", "call")),
        (Entries("tool"), Decision("allow", "tool")),
        (Entries("deny", text="not there"), Decision("deny", reason="not there")),
        (
            Entries("edit", fields={"rows": "4"}),
            Decision("allow", arguments={"path": "out/report.csv", "rows": 4}),
        ),
        (Entries("edit", fields={"path": ""}), Decision("allow", arguments={"path": "", "rows": 3})),
    ],
)
def test_an_approval_is_decided(entries, decision):
    value = views.value_of(approval(), entries)
    assert checked(approval(), value) == decision


@pytest.mark.parametrize(
    "entries",
    [
        Entries(),
        Entries("yes"),
        Entries("edit", fields={"nothing": "1"}),
        Entries("edit", fields={"rows": "many"}),
        Entries("edit", fields={"rows": "NaN"}),
        Entries("edit", fields={"rows": ""}),
        Entries("edit", fields={"rows": (1,)}),
    ],
)
def test_what_is_no_decision_is_refused(entries):
    with pytest.raises(EntriesRefused):
        views.value_of(approval(), entries)


def test_a_large_number_and_hidden_characters_are_kept_when_something_else_is_edited():
    question = approval(arguments={"path": EVIL, "rows": 2**60, "tags": [True, None], "on": False})
    entries = Entries("edit", fields={"on": (0,)})
    assert views.value_of(question, entries).arguments == {
        "path": EVIL,
        "rows": 2**60,
        "tags": [True, None],
        "on": True,
    }


def test_a_form_becomes_values_of_the_right_kind():
    question = Question("q1", "form", "More", schema=FORM)
    fields = {field.name: field for field in views.form_fields(FORM)}
    assert [field.type for field in fields.values()] == [
        "line", "number", "number", "option", "option", "lines", "several", "json",
    ]  # fmt: skip
    assert fields["keep"].chosen == (0,)
    assert fields["more"].initial == '{"a": 1}'
    entries = Entries(
        fields={
            "name": "n",
            "count": "2",
            "share": "",
            "size": (1,),
            "keep": (1,),
            "tags": "a\nb",
            "kinds": (0, 2),
            "more": '{"a": [1]}',
        }
    )
    value = views.value_of(question, entries)
    assert value == {
        "name": "n",
        "count": 2,
        "size": 2,
        "keep": False,
        "tags": ["a", "b"],
        "kinds": ["x", "z"],
        "more": {"a": [1]},
    }
    assert checked(question, value) == value


def test_each_field_that_does_not_fit_is_named():
    question = Question("q1", "form", "More", schema=FORM)
    entries = Entries(fields={"count": "two", "size": (7,), "more": "{", "tags": ""})
    with pytest.raises(EntriesRefused) as refused:
        views.value_of(question, entries)
    assert set(refused.value.fields) == {"name", "count", "size", "more"}


def test_what_the_check_of_a_form_finds_is_told_at_its_field():
    question = Question("q1", "form", "More", schema=FORM)
    refused = views.refused_at(question, "count: 0 is less than the minimum of 1; the form: no")
    assert refused.fields == {"count": "0 is less than the minimum of 1"}
    assert str(refused) == "the form: no"


def test_a_secret_is_in_no_repr():
    assert "swordfish" not in repr(Entries(text="swordfish"))


# --- typed -------------------------------------------------------------------------------------------


class Script:
    """Lines that were typed, and what was written above them."""

    def __init__(self, *typed):
        self.typed = list(typed)
        self.prompts = []
        self.written = []

    async def ask(self, prompt, *, secret=False):
        self.prompts.append((prompt, secret))
        if not self.typed:
            raise EOFError
        return self.typed.pop(0)

    def write(self, text):
        self.written.append(text)


async def typed(question, *lines):
    """The checked value, and the script."""
    script, values = Script(*lines), []

    def submit(entries):
        values.append(checked(question, views.value_of(question, entries)))

    await converse(question, script, submit)
    assert not script.typed
    return values[0], script


@pytest.mark.parametrize(
    ("lines", "decision"),
    [
        (["o"], Decision("allow")),
        (["AGAIN"], Decision("allow", "call")),
        (["n", ""], Decision("deny")),
        (["no wrong folder"], Decision("deny", reason="wrong folder")),
        (["?", "what", "s"], Decision("allow", "tool")),
        (["d wrong folder"], Decision("deny", reason="wrong folder")),
        (["deny", "wrong folder"], Decision("deny", reason="wrong folder")),
        (["d", ""], Decision("deny")),
        (["e", "", "many", "4"], Decision("allow", arguments={"path": "out/report.csv", "rows": 4})),
    ],
)
async def test_an_approval_is_typed(lines, decision):
    value, script = await typed(approval(), *lines)
    assert value == decision
    assert script.prompts[0] == ("[o]nce / [a]gain / [s]ession / [e]dit / [d]eny / [?]: ", False)


@pytest.mark.parametrize(
    ("question", "lines", "value"),
    [
        (Question("q1", "confirm", "Go?"), ["perhaps", "y"], True),
        (Question("q1", "choice", "Which?", options=(Option("a"), Option("b", "Bee"))), ["3", "bee"], "b"),
        (
            Question("q1", "choice", "Which?", options=(Option("a"), Option("b")), multiple=True),
            ["2, 1"],
            ["b", "a"],
        ),
        (Question("q1", "text", "What?"), ["words"], "words"),
        (Question("q1", "secret", "Password?"), ["", "swordfish"], "swordfish"),
        (
            Question("q1", "form", "More", schema=FORM),
            ["n", "", "2", "", "2", "", "a, b", "1,3", ""],
            {
                "name": "n",
                "count": 2,
                "size": 2,
                "keep": True,
                "tags": ["a", "b"],
                "kinds": ["x", "z"],
                "more": {"a": 1},
            },
        ),
    ],
)
async def test_a_question_is_typed_until_it_fits(question, lines, value):
    if question.kind == "secret":
        lines = lines[1:]
    found, script = await typed(question, *lines)
    assert found == value
    assert all(secret == (question.kind == "secret") for _, secret in script.prompts)


# --- at the desk -------------------------------------------------------------------------------------


class Board:
    def __init__(self):
        self.up = []

    def put_card(self, view, metadata):
        self.up.append(view)
        assert not view  # what is typed at is no card
        return lambda: self.up.remove(view)


def started(*, answer_within=600.0, tools=(), clock=None):
    done = []

    def save(path: str) -> str:
        """Save."""
        done.append(path)
        return "saved"

    policy = GovernancePolicy(own_tools="ask", answer_within=answer_within)
    model = Model.scripted([Call("save", {"path": "a"}), "done", Call("save", {"path": "b"}), "done"])
    agent = Agent(
        model, tools=(save, *tools), runtime=Runtime(governance=policy), session_store=MemoryStore()
    )
    session = agent.session()
    if clock is not None:
        session._clock = session._asking._clock = clock
    return session, session.start("go"), done


async def at_desk(session, run, lines):
    board = Board()
    desk = Desk(run.id, session, board, Faces(lines=lines))
    leave = run.subscribe(desk.take)
    result = await asyncio.wait_for(run.wait(), 60)
    leave()
    desk.leave()
    assert board.up == []
    return result


async def test_what_is_typed_lets_the_call_run():
    session, run, done = started()
    result = await at_desk(session, run, Script("o"))
    assert done == ["a"]
    assert result.status == "completed"
    await session.close()


async def test_an_answer_from_elsewhere_ends_the_prompt():
    session, run, done = started()

    class Never(Script):
        async def ask(self, prompt, *, secret=False):
            self.prompts.append(prompt)
            from loom_nb.inputs import Answer

            asyncio.get_running_loop().call_soon(session.send, Answer("a1", Decision("allow")))
            await asyncio.Event().wait()

    lines = Never()
    await at_desk(session, run, lines)
    assert done == ["a"]
    assert len(lines.prompts) == 1
    await session.close()


async def test_a_stop_ends_the_prompt():
    session, run, done = started()

    class Stopped(Script):
        async def ask(self, prompt, *, secret=False):
            run.stop()
            await asyncio.Event().wait()

    assert (await at_desk(session, run, Stopped())).status == "stopped"
    assert done == []
    await session.close()


async def test_a_keyboard_that_is_closed_leaves_the_question_open_until_its_time_is_up():
    up = asyncio.Event()

    class Waits(ManualClock):
        async def sleep(self, seconds):
            await up.wait()
            await super().sleep(seconds)

    class Closed(Script):
        def write(self, text):
            super().write(text)
            if "stays open" in text:
                up.set()

    session, run, done = started(clock=Waits())
    lines = Closed()
    await at_desk(session, run, lines)
    assert done == []
    assert lines.written[-1] == "(Approval a1 stays open: no answer: denied)"
    await session.close()


async def test_nobody_attends_once_the_desk_is_left():
    session, run, done = started()
    await at_desk(session, run, Script("o"))
    refused = await asyncio.wait_for(session.start("again").wait(), 60)
    assert done == ["a"]
    assert "nobody can be asked" in str([entry.event for entry in refused.events])
    await session.close()


def test_pages_that_never_showed_a_card_are_waited_for_less():
    pages = Pages()
    assert pages.patience > 5
    pages.waited = True
    assert pages.patience < 1
    pages.shown = True
    assert pages.patience > 5


def test_nobody_is_asked_where_a_program_executes_the_cell():
    class Kernel:
        def get_parent(self):
            return {"content": {"allow_stdin": False}}

    class Shell:
        kernel = Kernel()

    assert not faces_for(Shell(), "live", None, Pages()).somebody


# --- a terminal --------------------------------------------------------------------------------------


@pytest.fixture
def terminal():
    master, slave = pty.openpty()
    with os.fdopen(os.dup(slave)) as keyboard, os.fdopen(slave, "w") as screen:
        yield master, TerminalLines(keyboard, screen)
    os.close(master)


def shown(master, until):
    text = b""
    while until not in text:
        text += os.read(master, 4096)
    return text.decode()


async def test_a_line_of_a_terminal_is_read_beside_the_loop_and_what_came_before_is_dropped(terminal):
    master, lines = terminal
    os.write(master, b"typed ahead\n")
    asking = asyncio.ensure_future(lines.ask("go? "))
    assert "go? " in await asyncio.to_thread(shown, master, b"go? ")  # the loop lives while it is asked
    assert not asking.done()
    os.write(master, "grüße\n".encode())
    assert await asking == "grüße"


async def test_a_secret_is_not_shown_in_a_terminal(terminal):
    master, lines = terminal
    asking = asyncio.ensure_future(lines.ask("password: ", secret=True))
    await asyncio.to_thread(shown, master, b"password: ")
    os.write(master, b"swordfish\n")
    assert await asking == "swordfish"
    os.write(master, b"seen\n")
    assert "swordfish" not in shown(master, b"seen")


async def test_a_prompt_that_is_given_up_takes_no_later_line(terminal):
    master, lines = terminal
    asking = asyncio.ensure_future(lines.ask("one? "))
    await asyncio.to_thread(shown, master, b"one? ")
    asking.cancel()
    await asyncio.wait({asking})
    again = asyncio.ensure_future(lines.ask("two? "))
    await asyncio.to_thread(shown, master, b"two? ")
    os.write(master, b"second\n")
    assert await again == "second"


# --- a kernel ----------------------------------------------------------------------------------------

SETUP = """
%load_ext loom_nb
from loom_nb import Model, tool
from loom_nb.models.scripted import Call
from loom_nb.protocols import current_call
from loom_nb.questions import Question
done = []
def save(path: str) -> str:
    "Save."
    done.append(path)
    return "saved"

@tool(read_only=True)
async def login() -> str:
    "Ask."
    done.append(len(await current_call.get().ask(Question("", "secret", "Password?"))))
    return "in"
"""
TOLD = "print(done)"


@contextmanager
def at_work(home, **environment):
    with kernel(home, **environment) as running:
        assert running.run(SETUP).status == "ok"
        yield running


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    with at_work(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with at_work(tmp_path_factory.mktemp("plain"), LOOM_NB_RENDER="plain") as running:
        yield running


def cell(running, name="save", **arguments):
    """The text of a cell whose model calls this tool once."""
    told = running.run(f"done.clear()\nmodel = Model.scripted([Call({name!r}, {arguments!r}), 'ok'])")
    assert told.status == "ok"
    return f"%%loom --new -m model -t {name}\ngo on"


def save(running):
    return cell(running, "save", path="a")


def answer_stdin(running, value):
    """Reply to the input request of the cell that runs; the request's content."""
    request = running.client.get_stdin_msg(timeout=60)
    running.client.input(value)
    return request["content"]


def test_a_plain_cell_asks_below_itself_and_goes_on_meanwhile(plain):
    request = plain.submit(save(plain))
    asked = answer_stdin(plain, "o")
    shown = plain.collect(request)
    assert asked == {"prompt": "[o]nce / [a]gain / [s]ession / [e]dit / [d]eny / [?]: ", "password": False}
    assert shown.status == "ok"
    assert "save(" in shown.text
    assert plain.run(TOLD).text.strip() == "['a']"


def test_a_secret_is_asked_for_as_a_password(plain):
    request = plain.submit(cell(plain, "login"))
    asked = answer_stdin(plain, "swordfish")
    shown = plain.collect(request)
    assert asked["password"] is True
    assert "swordfish" not in str(shown.messages)
    assert plain.run(TOLD).text.strip() == "[9]"


def test_an_interrupt_ends_a_prompt_at_once_and_the_next_one_works(plain):
    request = plain.submit(save(plain))
    plain.client.get_stdin_msg(timeout=60)
    plain.press()
    shown = plain.collect(request)
    assert shown.status == "error"
    assert "RunStopped" in shown.error
    assert plain.run(TOLD).text.strip() == "[]"
    test_a_plain_cell_asks_below_itself_and_goes_on_meanwhile(plain)


def test_a_page_that_shows_no_card_is_asked_by_typing(tried):
    """A console: it allows input, and answers no widget."""
    tried.run("import loom_nb.notebook.asking as asking; asking.PATIENCE = 0.3")
    request = tried.submit(save(tried))
    assert answer_stdin(tried, "d no")["password"] is False
    shown = tried.collect(request)
    assert "denied" in shown.text
    assert tried.run(TOLD).text.strip() == "[]"


def test_a_program_that_executes_the_cell_is_not_asked(tried):
    shown = tried.run(save(tried), allow_stdin=False)
    assert "denied" in shown.text
    assert tried.run(TOLD).text.strip() == "[]"


def card_of(running, request):
    """The comm of the card that this cell shows."""
    seen = []

    def is_card(message):
        state = (
            message["content"].get("data", {}).get("state", {}) if message["msg_type"] == "comm_open" else {}
        )
        if "loom-question" in state.get("_css", ""):
            seen.append(message["content"]["comm_id"])
        return bool(seen)

    running.until(request, is_card)
    return seen[0]


def heard(running, comm, kind):
    """The next custom message of that type to the card."""
    found = []

    def wanted(message):
        content = (
            message["content"].get("data", {}).get("content", {}) if message["msg_type"] == "comm_msg" else {}
        )
        if message["content"].get("comm_id") == comm and content.get("type") == kind:
            found.append(content)
        return bool(found)

    while not wanted(running.client.get_iopub_msg(timeout=60)):
        pass
    return found[0]


def test_a_message_that_is_no_answer_of_this_card_is_told_and_ignored(tried):
    burst = "import loom_nb.notebook.widgets.question as card; card.BURST = {}"
    tried.run(burst.format(4))  # a busy machine answers "too quickly" within this
    request = tried.submit(save(tried))
    comm = card_of(tried, request)
    tried.send_comm(comm, {"type": "ready"})
    shown = heard(tried, comm, "show")
    nonce, entries = shown["nonce"], {"choice": "once"}
    assert shown["content"]["call"]["tool"] == "save"
    tried.send_comm(comm, {"type": "answer", "nonce": nonce, "entries": entries})
    assert "too quickly" in heard(tried, comm, "note")["text"]
    time.sleep(4)
    for message, words in (
        ({"type": "hello"}, "does not know"),
        ({"type": "answer", "entries": entries}, "without its mark"),
        ({"type": "answer", "nonce": 7, "entries": entries}, "without its mark"),
        ({"type": "answer", "nonce": nonce + "x", "entries": entries}, "not given on this card"),
    ):
        tried.send_comm(comm, message)
        assert words in heard(tried, comm, "note")["text"]
    tried.send_comm(comm, {"type": "answer", "nonce": nonce, "entries": {"choice": 1, "evil": []}})
    refused = heard(tried, comm, "refused")
    assert refused["nonce"] != nonce
    tried.send_comm(comm, {"type": "answer", "nonce": nonce, "entries": entries})  # said once already
    assert "not given on this card" in heard(tried, comm, "note")["text"]
    tried.send_comm(comm, {"type": "answer", "nonce": refused["nonce"], "entries": entries})
    assert heard(tried, comm, "gone")["type"] == "gone"
    tried.send_comm(comm, {"type": "answer", "nonce": refused["nonce"], "entries": entries})
    while tried.client.get_shell_msg(timeout=60)["parent_header"].get("msg_id") != request:
        pass
    tried.run(burst.format(0.3))
    assert tried.run(TOLD).text.strip() == "['a']"
