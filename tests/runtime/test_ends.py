"""How runs end: each end says what to type next, in its log, its card and its error alike."""

import asyncio

import pytest

from loom_nb import (
    Agent,
    GovernancePolicy,
    Limits,
    MemoryStore,
    Model,
    QualityGate,
    RetryPolicy,
    Runtime,
    tool,
)
from loom_nb.errors import LoomError, ModelError, RunFailed, SecretsLocked, StoreError
from loom_nb.events import RunFinished, event_from_json, event_to_json
from loom_nb.models.scripted import Call
from loom_nb.notebook import render
from loom_nb.notebook.render.strict_markdown import escape
from loom_nb.notebook.transcript import Transcript
from loom_nb.remedies import remedies, typed_and_why
from loom_nb.testing import Fail, WireServer


@tool
def erase(path: str) -> str:
    """Erases."""
    raise ValueError(f"no {path}")


def agent(*replies, **options):
    return Agent(Model.scripted(list(replies)), tools=(erase,), session_store=MemoryStore(), **options)


def told(result):
    """The remedies of an end, which are the same wherever they are told."""
    fixes = result.finished.fixes
    assert result.fixes == fixes
    again = Transcript.of([event_from_json(event_to_json(result.finished))])
    plain, markup = render.plain(again), render.html(again)
    with pytest.raises(LoomError) as raised:
        result.raise_for_status()
    for fix in fixes:
        typed, why = typed_and_why(fix)
        assert f"<code>{escape(typed)}</code>" in markup
        assert why in markup
        assert fix in plain
        assert fix in raised.value.fixes
    assert markup.count("<code>") == len(fixes)
    return fixes


@pytest.mark.parametrize(
    ("replies", "limits", "fault", "fix"),
    [
        ([Call("erase", {"path": "x"})], Limits(max_iterations=1), "turns", "%%loom --max-steps 2"),
        ([Call("erase", {"path": "x"})] * 2, Limits(stuck=2), "stuck", "%loom show last"),
        (
            [Call("erase", {"path": "x"})] * 2,
            Limits(max_tokens=1),
            "tokens",
            "%loom budget   (what was spent, and the caps)",
        ),
    ],
)
async def test_a_limit_says_how_to_raise_it(replies, limits, fault, fix):
    result = await agent(*replies, runtime=Runtime(limits=limits)).run("go")

    assert (result.status, result.fault) == ("limit", fault)
    assert told(result)[0].startswith(fix)


async def test_one_model_call_is_one():
    runtime = Runtime(limits=Limits(max_iterations=1))
    result = await agent(Call("erase", {"path": "x"}), runtime=runtime).run("go")

    assert result.reason == "1 model call was made, the limit is 1"


async def test_a_run_that_took_too_long_says_how_to_give_it_more_time():
    @tool(read_only=True)
    async def forever() -> None:
        await asyncio.Event().wait()

    spec = Agent(
        Model.scripted([Call("forever")]),
        tools=(forever,),
        session_store=MemoryStore(),
        runtime=Runtime(limits=Limits(timeout=0.02)),
    )
    result = await spec.run("go")

    assert (result.status, result.fault) == ("limit", "timeout")
    assert told(result)[0] == "%%loom --timeout 0.04"


async def test_an_answer_that_never_fits_or_is_not_accepted_says_where_to_look():
    unfit = await agent("a", "b", "c").run("go", schema=int)
    gate = QualityGate.evaluator(lambda answer, task: (False, "worse than the one before"))
    refused = await agent("a", "b", "c", "d", runtime=Runtime(quality=gate)).run("go")

    assert (unfit.fault, refused.fault) == ("format", "quality")
    assert told(unfit)[0] == "%loom show last   (what it answered)"
    assert told(refused)[0] == "%loom show last   (what was not accepted, and why)"


async def test_a_mode_that_only_reads_says_how_to_leave_it():
    runtime = Runtime(governance=GovernancePolicy.read_only())
    result = await agent(Call("erase", {"path": "x"}), "I could not", runtime=runtime).run("go")

    assert told(result) == remedies("denied", "read-only")
    assert told(result)[0] == "%%loom --approve ask"


@pytest.mark.parametrize(
    ("error", "status", "fault"),
    [
        (ModelError("busy", fault="overloaded"), "failed", "overloaded"),
        (ModelError("too long", fault="context_overflow"), "failed", "context_overflow"),
        (ModelError("broke off", fault="cut_stream"), "failed", "cut_stream"),
        (ModelError("what?", fault="unknown"), "failed", "unknown"),
        (SecretsLocked("the store is locked"), "failed", "credential"),
        (StoreError("the disk is full"), "failed", "store"),
        (ZeroDivisionError("oh"), "failed", "internal"),
    ],
)
async def test_an_error_without_a_fix_of_its_own_gets_that_of_its_fault(error, status, fault):
    runtime = Runtime(retry=RetryPolicy(max_attempts=1))
    result = await agent(error, runtime=runtime).run("go")

    assert (result.status, result.fault) == (status, fault)
    assert told(result) == remedies(status, fault)


async def test_a_fix_of_an_error_s_own_stands_first():
    error = ModelError("busy", fault="server_error", fixes=["wait for Ada"])
    result = await agent(error, runtime=Runtime(retry=RetryPolicy(max_attempts=1))).run("go")

    assert told(result) == ("wait for Ada", *remedies("failed", "server_error")[:2])


async def test_a_stopped_run_says_how_to_go_on():
    started = asyncio.Event()

    @tool(read_only=True)
    async def forever() -> None:
        started.set()
        await asyncio.Event().wait()

    spec = Agent(Model.scripted([Call("forever")]), tools=(forever,), session_store=MemoryStore())
    run = spec.session().start("go")
    await started.wait()
    run.stop("enough")
    result = await run

    assert result.status == "stopped"
    assert told(result) == remedies("stopped")


def test_an_end_that_an_older_version_wrote_gets_the_fixes_of_its_fault():
    old = event_from_json(b'{"type":"RunFinished","status":"limit","fault":"turns","reason":"50"}')

    assert isinstance(old, RunFinished)
    assert old.fixes == ()
    assert "--max-steps" in render.plain(Transcript.of([old]))


@pytest.mark.parametrize(
    ("step", "fixes"),
    [
        (
            Fail(429, retry_after=3600),
            (
                "run the cell again in 3,600 s",
                "%loom models   (another model)",
                "Runtime(retry=RetryPolicy(max_attempts=8, longest_retry_after=3600))   (a script)",
            ),
        ),
        (
            Fail(401),
            (
                "%loom key set anthropic   (hidden input, kept encrypted; unset WIRE_KEY, which comes first)",
                'import os, getpass; os.environ["WIRE_KEY"] = getpass.getpass()   (a script)',
                "%%loom -m offline   (needs no key)",
            ),
        ),
        (Fail(403), ("%loom models   (one that this key may use)",)),
        (Fail(404), ("%loom models",)),
        (Fail(413), ("attach smaller files or images", "%%loom --new")),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_what_a_vendor_answers_says_what_to_type(step, fixes, monkeypatch):
    monkeypatch.setenv("WIRE_KEY", "sk-ends-0123456789abcdef")
    with WireServer([step]) as server:
        model = Model.anthropic("claude-x", base_url=server.url, key_env="WIRE_KEY")
        result = await Agent(model, session_store=MemoryStore()).run("go")

    assert told(result)[: len(fixes)] == fixes
    if step.retry_after:
        with pytest.raises(ModelError, match=r"it asks to wait 3,600 s"):
            result.raise_for_status()


def test_a_result_without_an_error_raises_with_its_fixes():
    from loom_nb.runtime.run import RunResult

    end = RunFinished(
        "limit", fault="turns", reason="50 model calls were made", fixes=("%%loom --max-steps 9",)
    )

    with pytest.raises(RunFailed) as raised:
        RunResult("r1", "s", "offline", end, ()).raise_for_status()
    assert raised.value.fixes == ("%%loom --max-steps 9",)
