"""`%%loom` in a real kernel, spoken to as a front end speaks to it."""

import signal
import threading
from pathlib import Path

import pytest

from tests.notebook.kernels import PYTHON, WIDGET_VIEW, kernel, stop_button, waits_for

SCRIPTED = "from loom_nb import Model, tool\nfrom loom_nb.models.scripted import Call\n"
SLOW = SCRIPTED + "slow = Model.scripted(['word ' * 400], chunk=5, delay=0.05)"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with kernel(tmp_path_factory.mktemp("home"), LOOM_NB_RENDER="live") as one:
        assert one.run("%load_ext loom_nb").status == "ok"
        yield one


@pytest.fixture(scope="module")
def auto(tmp_path_factory):
    with kernel(tmp_path_factory.mktemp("home")) as one:
        assert one.run("%load_ext loom_nb").status == "ok"
        yield one


def test_the_kernel_is_the_one_that_is_to_be_tried(live):
    where, version = live.run("import ipykernel, sys\nprint(sys.prefix, ipykernel.__version__)").text.split()
    print(f"in the kernel: ipykernel {version}")  # read by test_other_kernels.py
    assert Path(PYTHON).is_relative_to(where)


def test_loading_shows_a_card_and_writes_nothing_to_stderr(tmp_path):
    with kernel(tmp_path, LOOM_NB_RENDER="live") as fresh:
        fresh.run("import sys; before = set(sys.modules)")
        cell = fresh.run("%load_ext loom_nb")
        (card,) = cell.saved
        assert card["kind"] == "display_data"
        assert len(card["data"]["text/plain"].splitlines()) <= 8
        assert "offline (demo, free)" in card["data"]["text/plain"]
        heavy = "{'anthropic', 'openai', 'pandas', 'ipywidgets', 'anywidget', 'httpx', 'pydantic'}"
        assert fresh.run(f"sorted({heavy} & (set(sys.modules) - before))").text == "[]"
        assert fresh.run("%load_ext loom_nb").status == "ok"
        assert fresh.run("%reload_ext loom_nb").status == "ok"
        assert fresh.run("len([t for t in get_ipython().input_transformer_manager.cleanup_transforms "
                         "if getattr(t, '__name__', '') == 'awaiting_cell'])").text == "1"  # fmt: skip
        assert fresh.run("%unload_ext loom_nb").status == "ok"
        assert "not found" in fresh.run("%%loom\nhello").text


def test_a_cell_streams_and_leaves_one_full_output(live):
    live.run(SCRIPTED + "talk = Model.scripted(['one two three ' * 20], chunk=7, delay=0.03)")
    cell = live.run("%%loom -m talk\nspeak")
    assert cell.status == "ok"
    assert len(cell.of("update_display_data")) >= 3
    (output,) = cell.saved
    assert output["kind"] == "display_data"
    assert {"text/plain", "text/html", "text/markdown"} <= set(output["data"])
    assert WIDGET_VIEW not in output["data"]
    assert output["data"]["text/plain"].count("one two three") == 20
    assert output["metadata"]["loom"]["ai_generated"] is True


def test_the_result_is_the_value_of_the_cell_and_not_drawn_twice(live):
    cell = live.run("%%loom\nwhat data do I have here?")
    assert not cell.of("execute_result")
    assert live.run("_.status").text == "'completed'"
    drawn = live.run("__")
    assert "list_variables" in drawn.text
    assert "text/html" in drawn.of("execute_result")[0]["data"]


def test_the_result_is_bound_also_when_the_run_fails(live):
    live.run(SCRIPTED + "bad = Model.scripted([])")
    failed = live.run("%%loom -m bad -o answer\nhello")
    assert failed.status == "error"
    assert live.run("answer.status").text == "'failed'"
    assert live.run("%%loom -o answer\nhello").status == "ok"
    assert live.run("answer.status").text == "'completed'"


def test_a_failure_aborts_the_queued_cells_and_says_what_to_do(live):
    request = live.submit("%%loom -m anthropic:claude-sonnet-4-5\nhello")
    queued = live.submit("ran_on = True")
    failed = live.collect(request)
    assert failed.status == "error"
    assert "LoomKeyError" in failed.error
    assert "Traceback" not in failed.error
    assert "ANTHROPIC_API_KEY" in failed.error
    reply = live.client.get_shell_msg(timeout=60)
    assert reply["parent_header"]["msg_id"] == queued
    assert reply["content"]["status"] == "aborted"


def test_a_function_of_the_notebook_becomes_a_tool_and_what_it_prints_stays(live):
    live.run(
        "from loom_nb import tool\n@tool(read_only=True)\ndef double(x: int) -> int:\n    'Double a number.'\n    print('called', x)\n    return 2 * x"
    )
    cell = live.run("%%loom -t double -o answer\nplease double 21")
    assert "42" in cell.text
    assert [output["kind"] for output in cell.saved] == ["display_data", "stream"]
    assert cell.saved[1]["text"] == "called 21\n"
    assert (
        live.run("[(t.name, t.arguments, t.outcome) for t in answer.tools]").text
        == "[('double', {'x': 21}, 'ok')]"
    )


def test_a_schema_gives_a_value(live):
    live.run(
        "from dataclasses import dataclass\n@dataclass\nclass City:\n    name: str\n    people: int\n"
        + SCRIPTED
        + 'town = Model.scripted([\'{"value": [{"name": "Oslo", "people": 7}]}\'])'
    )
    assert live.run("%%loom -m town --schema list[City] -o answer\ncities").status == "ok"
    assert live.run("answer.data").text == "[City(name='Oslo', people=7)]"


def test_an_interrupt_ends_the_run_at_once_and_the_next_cell_works(live):
    live.run(SLOW)
    seen = {}

    def watch(message):
        if message["msg_type"] == "update_display_data" and "sent" not in seen:
            seen["sent"] = True
            live.manager.signal_kernel(signal.SIGINT)

    cell = live.run("%%loom -m slow -o cut\ngo", watch=watch)
    assert cell.status == "error"
    assert "RunStopped" in cell.error
    assert live.run("cut.status, cut.reason").text == "('stopped', 'interrupted by you')"
    assert "word" in cell.text
    assert live.run("%%loom\nhello again").status == "ok"
    assert (
        live.run("import signal; signal.getsignal(signal.SIGINT) is signal.default_int_handler").text
        == "True"
    )


def test_a_second_interrupt_leaves_a_run_that_does_not_stop(live, tmp_path):
    live.run(
        SCRIPTED + "import asyncio\nfrom pathlib import Path\nfree = asyncio.Event()\n"
        "@tool(read_only=True)\nasync def stubborn() -> str:\n"
        "    'Does not listen.'\n"
        "    while not free.is_set():\n"
        f"        try:\n            Path({str(tmp_path)!r}, 'begun').touch()\n            await free.wait()\n"
        f"        except asyncio.CancelledError:\n            Path({str(tmp_path)!r}, 'heard').touch()\n"
        "    return 'done'\n"
        "deaf = Model.scripted([Call('stubborn'), 'done'])"
    )

    def press_twice():
        for fact in ("begun", "heard"):
            waits_for((tmp_path / fact).exists)
            live.press()

    thread = threading.Thread(target=press_twice)
    thread.start()
    cell = live.run("%%loom -m deaf -t stubborn\ngo")
    thread.join()
    assert "RunStopped" in cell.error and "was left before it had stopped" in cell.error
    assert live.run("free.set(); 1 + 1").text == "2"


def test_a_click_on_stop_reaches_the_run_while_the_cell_runs(live):
    live.run(SLOW)
    seen = {}

    def watch(message):
        comm = stop_button([message])
        if comm:
            seen["comm"] = comm
        if message["msg_type"] == "update_display_data" and "comm" in seen and "sent" not in seen:
            seen["sent"] = True
            live.send_comm(seen["comm"], {"type": "stop"})

    cell = live.run("%%loom -m slow -o cut\ngo", watch=watch)
    assert live.run("cut.status, cut.reason").text == "('stopped', 'stopped by you')"
    assert all(WIDGET_VIEW not in output.get("data", {}) for output in cell.saved)
    closed = {content["comm_id"] for content in cell.of("comm_close")}
    assert closed == {content["comm_id"] for content in cell.of("comm_open")}
    assert live.run("%%loom\nhello again").status == "ok"


def test_outputs_land_in_their_own_cell(live):
    live.run(SCRIPTED + "brief = Model.scripted(['alpha ' * 30, 'omega ' * 30], chunk=6, delay=0.02)")
    live.strays.clear()
    first = live.submit("%%loom -m brief\nfirst")
    second = live.submit("%%loom -m brief\nsecond")
    one, two = live.collect(first), live.collect(second)
    assert one.text.count("alpha") == 30
    assert "omega" not in one.text
    assert two.text.count("omega") == 30
    assert not [m for m in live.strays if m["msg_type"] in ("display_data", "update_display_data", "stream")]


def test_a_long_answer_needs_few_outputs(live):
    live.run(
        SCRIPTED + "long = Model.scripted(['A paragraph of words.\\n\\n' * 8000], chunk=4000, delay=0.002)"
    )
    cell = live.run("%%loom -m long\nwrite")
    assert cell.status == "ok"
    assert len(cell.of("display_data")) <= 45
    (output,) = cell.saved
    assert output["data"]["text/plain"].count("A paragraph") == 8000


def test_without_a_person_there_is_one_display_and_no_widget(auto):
    cell = auto.run("%%loom\nwhat data do I have here?", allow_stdin=False)
    assert [m["msg_type"] for m in cell.messages if m["msg_type"] not in ("status", "execute_input")] == [
        "display_data"
    ]


def test_with_a_person_there_is_a_live_view(auto):
    auto.run(SCRIPTED + "talk = Model.scripted(['one two three ' * 20], chunk=7, delay=0.03)")
    cell = auto.run("%%loom -m talk\nspeak", allow_stdin=True)
    assert cell.of("update_display_data")
    assert cell.of("clear_output")


def test_the_prompt_arrives_as_typed(auto):
    auto.run(SCRIPTED + "said = Model.scripted([lambda messages: 'seen'] * 9)")
    body = 'first line\n>>> x = 1\n    indented {nothing} $x \\frac{1}{2}\n{"a": 1}'
    assert auto.run(f"\n# a comment\n%%loom -m said -o answer\n{body}").status == "ok"
    assert auto.run("answer.messages[0].text").text == repr(body)
    assert (
        auto.run(f"%%loom -m said -o answer\r\n{body}\r\n".replace("\n", "\r\n").replace("\r\r", "\r")).status
        == "ok"
    )
    assert auto.run("answer.messages[0].text").text == repr(body)


def test_a_value_travels_beside_the_prompt(auto):
    auto.run("rows = [1, 2, 3]")
    auto.run(SCRIPTED + "said = Model.scripted([lambda messages: 'seen'] * 9)")
    cell = auto.run("%%loom -m said -o answer\nsum {rows}", allow_stdin=False)
    assert "used: rows" in cell.text
    assert auto.run("answer.messages[0].text").text == "'sum ⟨rows⟩'"
    assert (
        auto.run("[(p.name, p.origin.kind) for p in answer.messages[0].parts[1:]]").text
        == "[('rows', 'notebook')]"
    )


def test_the_conversation_goes_on_until_a_new_one_begins(auto):
    auto.run(SCRIPTED + "count = Model.scripted([lambda messages: str(len(messages))] * 9)")
    auto.run("%%loom -m count --new -o a\none")
    auto.run("%%loom -m count -o b\ntwo")
    auto.run("%%loom -m count --new -o c\nthree")
    assert auto.run("a.session_id == b.session_id != c.session_id").text == "True"
    assert auto.run("a.output, b.output, c.output").text == "('1', '3', '1')"
    first = auto.run("print(a.id)").text.strip()
    assert auto.run(f"%%loom -m count --continue {first} -o d\nfour").status == "ok"
    assert auto.run("d.session_id == a.session_id, d.output").text == "(True, '5')"
    assert "there is no run 'r999'" in auto.run("%%loom --continue r999\nfive").error


def test_limits_of_a_cell_end_its_run(auto):
    auto.run(SLOW)
    late = auto.run("%%loom -m slow --timeout 0.3 -o answer\ngo", allow_stdin=False)
    assert "RunLimited" in late.error
    assert auto.run("answer.status, answer.fault").text == "('limit', 'timeout')"
    auto.run(
        "from loom_nb import tool\n@tool(read_only=True)\ndef ping() -> str:\n    'Ping.'\n    return 'pong'"
    )
    auto.run(SCRIPTED + "loops = Model.scripted([Call('ping'), Call('ping'), 'done'])")
    assert "RunLimited" in auto.run("%%loom -m loops -t ping --max-steps 1 -o answer\ngo").error
    assert auto.run("answer.status, answer.fault").text == "('limit', 'turns')"


def test_a_dry_run_shows_the_exact_request_and_sends_nothing(auto):
    auto.run("rows = [1, 2, 3]")
    cell = auto.run("%%loom -n -o dry -m openai:gpt-5.1\nsum {rows}")
    assert cell.status == "ok"
    assert "nothing was sent to openai:gpt-5.1" in cell.text
    assert auto.run("import json; body = json.loads(dry.body); body['model']").text == "'gpt-5.1'"
    assert auto.run("'sum ⟨rows⟩' in json.dumps(body, ensure_ascii=False)").text == "True"
    assert auto.run("dry.tokens == sum(item.tokens for item in dry.items) > 0").text == "True"


def test_line_magics_answer_in_words_and_html(auto):
    for line in (
        "",
        "models",
        "tools",
        "runs",
        "doctor",
        "config",
        "tour",
        "help",
        "model",
        "why",
        "stop",
        "reset",
    ):
        cell = auto.run(f"%loom {line}")
        assert cell.status == "ok", (line, cell.error)
        (result,) = cell.of("execute_result")
        assert {"text/plain", "text/html"} <= set(result["data"]), line
        assert "0x" not in result["data"]["text/plain"], line


def test_help_is_real_help(auto):
    for code, says in (("%%loom?", "--max-steps"), ("%loom?", "doctor"), ("%%loom -h", "--max-steps")):
        cell = auto.run(code)
        told = cell.text + str(cell.reply["content"].get("payload", ""))
        assert says in told, code


def test_completion_offers_flags_and_variables_and_no_python(auto):
    auto.run("frame_of_mine = 1\ndef framed() -> int:\n    return 1")

    def offered(code):
        auto.client.complete(code, len(code))
        content = auto.client.get_shell_msg(timeout=60)["content"]
        return [code[: content["cursor_start"]] + match for match in content["matches"]]

    assert "%%loom --max-steps" in offered("%%loom --ma")
    assert "%%loom -m openai:gpt-5.1" in offered("%%loom -m openai:")
    assert offered("%%loom -t fra") == ["%%loom -t framed"]
    assert "%%loom\nsee {frame_of_mine" in offered("%%loom\nsee {fra")
    auto.run("of_mine = {'two words': {'deep': 1}}")
    assert offered("%%loom\nsee {of_mine['tw") == ["%%loom\nsee {of_mine['two words']"]
    assert offered("%%loom\nsee {of_mine['two words'][") == ["%%loom\nsee {of_mine['two words']['deep']"]
    assert offered("%%loom\nimport os; os.pa") == ["%%loom\nimport os; os.pa"]
    assert offered("%loom doc") == ["%loom doctor"]
