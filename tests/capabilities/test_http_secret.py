"""`http_request` with a secret by its name: asked about, ruled by its policy, told, and seen by nobody."""

import asyncio
import functools

import pytest

from loom_nb import Agent, Answer, Capability, Decision, GovernancePolicy, MemoryStore, Model, Runtime
from loom_nb.capabilities.http import HttpCapability
from loom_nb.credentials.broker import Broker
from loom_nb.credentials.policies import Binding, CredentialPolicy
from loom_nb.errors import LoomUsageError
from loom_nb.events import CallFinished, CallJudged, Noticed, QuestionAsked, SecretUsed
from loom_nb.inputs import SessionConfig
from loom_nb.models.scripted import Call
from loom_nb.notebook.transcript import Notice, Transcript, fold
from tests.capabilities.sites import serving

CANARY = "sk-canary-93f1b2c7d8e64a50"


@pytest.fixture
def broker(tmp_path):
    made = Broker(tmp_path / "secrets", master="file")
    yield made
    made.stop()


@pytest.fixture
async def site():
    async with serving() as site:

        async def echo(writer):
            writer.write(site.asked[-1].encode("latin-1"))

        site.answers["/user"] = (200, {"Content-Type": "text/plain"}, echo)
        yield site


def keep(broker, site, scope="git.read", mode="autonomous", grants=(), policy=None, **binding):
    given = {"hosts": (f"127.0.0.1:{site.port}",), "plain": True} | binding
    broker.put(
        scope, "api_key", {"value": CANARY}, binding=Binding(**given),
        policy=policy or CredentialPolicy(mode=mode), grants=grants,
    )  # fmt: skip


def agent(broker, *replies, governance=None, scopes=("git.read",), **given):
    capability = HttpCapability(credentials=scopes, broker=broker, **given)
    runtime = Runtime(governance=governance or GovernancePolicy.supervised())
    return Agent(
        Model.scripted(list(replies)), capabilities=[capability], session_store=MemoryStore(), runtime=runtime,
        name="helper",
    )  # fmt: skip


def call(site, path="/user", credential="git.read", **given):
    return Call("http_request", {"url": site.url(path), "credential": credential, **given})


async def played(spec, *values, notebook=""):
    left = list(values)
    metadata = {"notebook": notebook} if notebook else {}
    async with spec.session(SessionConfig(metadata=metadata)) as session:

        def sink(event):
            if isinstance(event, QuestionAsked) and left:
                session.send(Answer(event.question.id, left.pop(0)))

        run = session.start("go")
        run.subscribe(sink)
        result = await run
        log = [entry async for entry in aiter_of(session)]
    assert CANARY not in repr(log)
    return result


async def aiter_of(session):
    for entry in session.store.read(session.id):
        yield entry


def of(result, kind):
    return [entry.event for entry in result.events if isinstance(entry.event, kind)]


def shown(result):
    return functools.reduce(fold, (entry.event for entry in result.events), Transcript())


ALLOW = Decision("allow")


async def test_a_read_with_an_autonomous_secret_runs_and_is_told(broker, site):
    keep(broker, site)
    result = await played(agent(broker, call(site), "done"))
    assert result.status == "completed", result
    assert site.sent(0, "authorization") == f"Bearer {CANARY}"
    (finished,) = of(result, CallFinished)
    assert "Bearer [secret git.read]" in finished.result.text
    assert CANARY not in finished.result.text
    (used,) = of(result, SecretUsed)
    assert used == SecretUsed(
        "git.read", "tool:http_request", finished.result.call_id, "GET", f"127.0.0.1:{site.port}", "/user",
        "autonomous",
    )  # fmt: skip
    assert of(result, QuestionAsked) == []
    rows = {row.kind: row for row in await asyncio.to_thread(broker.log, "git.read")}
    assert (rows["used"].use.run, rows["used"].use.agent) == (result.id, "helper")


async def test_the_transcript_says_it_in_one_line(broker, site):
    keep(broker, site)
    result = await played(agent(broker, call(site, query={"q": "x"}), "done"))
    blocks = shown(result).blocks
    told = [block for block in blocks if isinstance(block, Notice)]
    assert told == [Notice(f"used git.read for GET 127.0.0.1:{site.port}/user")]


async def test_notify_after_is_a_notice_that_is_seen(broker, site):
    keep(broker, site, mode="notify_after")
    result = await played(agent(broker, call(site), "done"))
    (told,) = [b for b in shown(result).blocks if isinstance(b, Notice)]
    assert told.level == "warning"


async def test_without_a_credential_it_is_the_tool_it_was(broker, site):
    keep(broker, site)
    spec = agent(
        broker, Call("http_request", {"url": site.url("/user")}), "done", allow=[("127.0.0.1", site.port)]
    )
    result = await played(spec)
    assert result.status == "completed"
    assert site.sent(0, "authorization") is None
    assert of(result, SecretUsed) == []


async def test_a_person_is_asked_before_each_use_and_sees_what_for(broker, site):
    keep(broker, site, mode="notify_before")
    spec = agent(broker, call(site, why="to see; who I am"), call(site), "done")
    result = await played(spec, ALLOW, ALLOW)
    assert result.status == "completed", result
    first, second = (event.question.approval for event in of(result, QuestionAsked))
    assert first.scopes == second.scopes == ("once",)  # no leave that holds for another use
    told = " | ".join(first.reasons)
    assert f"http_request wants the secret git.read for GET http://127.0.0.1:{site.port}/user" in told
    assert "the agent says why: to see, who I am" in told
    assert "(with the secret git.read)" in first.preview
    assert len(site.asked) == 2
    rows = await asyncio.to_thread(broker.log, "git.read")
    used = [row for row in rows if row.kind == "used"]
    assert [row.use.approved for row in used] == ["a1", "a2"]
    assert used[0].use.why == "to see; who I am"
    assert [row.kind for row in rows].count("asked") == 2


async def test_a_person_says_no(broker, site):
    keep(broker, site, mode="notify_before")
    result = await played(agent(broker, call(site), "I see"), Decision("deny"))
    assert (result.status, site.asked) == ("denied", [])
    assert of(result, SecretUsed) == []


async def test_where_nobody_can_be_asked_it_is_refused(broker, site):
    keep(broker, site, mode="notify_before")
    spec = agent(broker, call(site), "I see", governance=GovernancePolicy.default())
    result = await spec.run("go")
    assert (result.status, site.asked) == ("denied", [])
    assert "nobody can be asked here" in result.reason


@pytest.mark.parametrize("mode", ["all", "edits"])
async def test_no_mode_and_no_leave_answers_for_the_person(broker, site, mode, monkeypatch):
    from loom_nb import Allow

    keep(broker, site, mode="notify_before")
    governance = GovernancePolicy((Allow("http_request"),), mode=mode)
    result = await agent(broker, call(site), "I see", governance=governance).run("go")
    assert (result.status, site.asked) == ("denied", [])


async def test_what_the_policy_denies_is_denied_with_its_reason(broker, site):
    keep(broker, site, methods=("GET",))
    spec = agent(broker, call(site, method="DELETE"), "I see")
    result = await played(spec, ALLOW)
    assert (result.status, site.asked) == ("denied", [])
    assert "bound to GET, not to DELETE" in of(result, CallFinished)[0].result.text
    judged = of(result, CallJudged)
    assert [(one.decision, one.by) for one in judged] == [("deny", "secret")]


async def test_a_host_of_its_own_choosing_is_refused(broker, site):
    keep(broker, site)
    async with serving() as other:
        url = {"url": other.url("/user"), "credential": "git.read"}
        result = await played(agent(broker, Call("http_request", url), "I see"))
        assert (result.status, other.asked, site.asked) == ("denied", [], [])
        allowed = agent(broker, Call("http_request", url), "I see", allow=[("127.0.0.1", other.port)])
        result = await played(allowed)
        assert (result.status, other.asked) == ("denied", [])
        assert "is bound to" in of(result, CallFinished)[0].result.text


async def test_a_secret_that_was_not_granted_is_no_choice(broker, site):
    keep(broker, site)
    keep(broker, site, "other")
    result = await played(agent(broker, call(site, credential="other"), "I see"))
    assert site.asked == []
    assert "Input should be 'git.read'" in of(result, CallFinished)[0].result.text


async def test_a_secret_that_is_not_kept_is_told_and_nobody_is_asked(broker, site):
    result = await played(agent(broker, call(site), "I see"))
    assert "no secret is kept as 'git.read'" in of(result, CallFinished)[0].result.text
    assert of(result, QuestionAsked) == []


@pytest.mark.parametrize(
    ("grants", "notebook", "status"),
    [
        (("notebook:a.ipynb",), "a.ipynb", "completed"),
        (("notebook:a.ipynb",), "b.ipynb", "denied"),
        (("notebook:a.ipynb",), "", "denied"),
        (("agent:helper", "tool:http_request"), "", "completed"),
        (("agent:other",), "", "denied"),
        (("model:anthropic",), "", "denied"),
    ],
)
async def test_grants_say_where_and_who(broker, site, grants, notebook, status):
    keep(broker, site, grants=grants)
    result = await played(agent(broker, call(site), "done"), notebook=notebook)
    assert result.status == status
    assert len(site.asked) == (status == "completed")


async def test_writing_asks_as_ever_and_the_answer_is_written_down(broker, site):
    keep(broker, site)
    result = await played(agent(broker, call(site, method="POST", json={"a": 1}), "done"), ALLOW)
    assert result.status == "completed"
    assert "uses the secret git.read" in " | ".join(of(result, QuestionAsked)[0].question.approval.reasons)
    assert site.bodies == [b'{"a": 1}']
    (used,) = [row for row in await asyncio.to_thread(broker.log, "git.read") if row.kind == "used"]
    assert used.use.approved == "a1"


async def test_a_policy_that_changes_while_a_person_thinks_counts(broker, site):
    keep(broker, site)
    spec = agent(broker, call(site, method="POST"), "I see")

    async with spec.session() as session:

        def sink(event):
            if isinstance(event, QuestionAsked):
                broker.change("git.read", binding=Binding(hosts=("api.example.com",)))
                session.send(Answer(event.question.id, ALLOW))

        run = session.start("go")
        run.subscribe(sink)
        result = await run
    assert (result.status, site.asked) == ("denied", [])


async def test_one_shot_is_once_for_two_calls_of_one_turn(broker, site):
    keep(broker, site, mode="one_shot")
    two = [call(site), call(site)]
    result = await played(agent(broker, two, "done"))
    assert len(site.asked) == 1
    assert sorted(one.outcome for one in of(result, CallFinished)) == ["denied", "ok"]


async def test_a_redirect_to_another_origin_goes_without_the_secret(broker, site):
    keep(broker, site)
    async with serving() as other:
        other.page("/there", "the file", "text/plain")
        site.redirect("/user", other.url("/there"))
        pair = ("127.0.0.1", other.port)
        result = await played(agent(broker, call(site), "done", allow=[pair]))
        assert "the file" in of(result, CallFinished)[0].result.text
        assert "without the secret" in of(result, CallFinished)[0].result.text
        assert CANARY not in repr(other.asked)
        assert other.sent(0, "authorization") is None
        result = await played(agent(broker, call(site), "done"))  # that server is not allowed by itself
        assert "the redirect was not followed" in of(result, CallFinished)[0].result.text
        assert len(other.asked) == 1


async def test_a_redirect_that_holds_the_secret_is_not_followed(broker, site):
    keep(broker, site)
    async with serving() as other:
        site.redirect("/user", f"{other.url('/there')}?key={CANARY}")
        result = await played(agent(broker, call(site), "done", allow=[("127.0.0.1", other.port)]))
        assert other.asked == []
        assert "the redirect was not followed" in of(result, CallFinished)[0].result.text


async def test_a_server_that_is_gone_is_told_and_the_use_too(broker, site):
    keep(broker, site, hosts=("127.0.0.1:9",))
    url = {"url": "http://127.0.0.1:9/", "credential": "git.read"}
    result = await played(agent(broker, Call("http_request", url), "I see"))
    assert "the connection failed" in of(result, CallFinished)[0].result.text
    assert [one.scope for one in of(result, SecretUsed)] == ["git.read"]


async def test_the_schema_names_the_granted_secrets_and_no_host(broker, site):
    keep(broker, site)
    toolset = await HttpCapability(credentials=["git.read", "git.write"], broker=broker).open()
    (tool,) = toolset.tools
    assert tool.schema["properties"]["credential"]["anyOf"][0]["enum"] == ["git.read", "git.write"]
    assert "Granted: git.read, git.write." in tool.description
    assert "127.0.0.1" not in repr(tool.schema) + tool.description
    assert broker.pid is not None  # of `keep`; opening asked nothing
    plain = (await Capability.http().open()).tools[0]
    assert "credential" not in plain.schema["properties"]


@pytest.mark.parametrize("given", ["git.read", [1], [""], 5])
def test_credentials_is_a_list_of_names(given):
    with pytest.raises(LoomUsageError, match="credentials"):
        Capability.http(credentials=given)


async def test_a_notice_does_not_hold_what_stands_in_a_query(broker, site):
    keep(broker, site, apply="query:key")
    result = await played(agent(broker, call(site, path="/user?token=abc"), "done"))
    assert all("token" not in one.path for one in of(result, SecretUsed))
    assert of(result, Noticed) == []
