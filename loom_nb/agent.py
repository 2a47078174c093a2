"""Agent: who answers. A frozen description; sessions hold the conversations."""

import asyncio
import contextvars
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from loom_nb.checks import shown
from loom_nb.credentials.used_secrets import USED
from loom_nb.errors import LoomUsageError, NotBuiltError
from loom_nb.events import Event
from loom_nb.inputs import RunContext, RuntimeTask, SessionConfig
from loom_nb.messages import DataPart, Origin
from loom_nb.models import kept_keys
from loom_nb.models.registry import Model
from loom_nb.protocols import Book, Capability, Generation, KeySource, Store
from loom_nb.redaction.known import KnownSecrets
from loom_nb.runtime.hooks import Hook, Hooks
from loom_nb.runtime.policies import Runtime
from loom_nb.runtime.redacting import Redacting
from loom_nb.runtime.run import RunResult
from loom_nb.runtime.session import Session
from loom_nb.runtime.tally import Tally
from loom_nb.tools import Tool, ToolFunction, as_tool

if TYPE_CHECKING:
    from loom_nb.capabilities.knowledge.query import Evidence, KnowledgeQuery

_LATER = (
    "memory",
    "policy",
    "schedule",
    "orchestration",
    "heartbeat",
    "gateways",
    "safety_rules",
)


_INSTEAD = {"memory": ("Agent(capabilities=[Capability.memory()])",)}


@dataclass(frozen=True, init=False, eq=False)
class Agent:
    """A frozen description of who answers: model, instructions, tools, capabilities, runtime.

    It holds no conversation: one Agent may serve many sessions, which share nothing.

    Args:
        model: a Model, or its name as `vendor:model`; the offline demo model by default.
        instructions: what it is and how it should work; the system side of every request.
        tools: plain functions or `@tool`s.
        capabilities: what else it is given, for example `Capability.files()`.
        knowledge: documents that it is given: folders, files, addresses, `KnowledgeSource`s, or one
            `KnowledgeBase`. Short for `Capability.knowledge(…)` among the capabilities.
        generation: sampling options.
        skills: True for the skills that are found in the usual places; or folders of skills of your own,
            which come before those. Short for `Capability.skills(…)`.
        runtime: the policies of its runs.
        session_store: where sessions keep their logs; a SQLite file of the user by default.
        name: what it is called.

    Raises:
        LoomUsageError: names the field that is of a wrong type.
        NotBuiltError: for a field that is announced and not part of this version.
    """

    model: Model
    instructions: str
    tools: tuple[Tool, ...]
    capabilities: tuple[Capability, ...]
    generation: Generation
    runtime: Runtime
    session_store: Store | None
    name: str
    hooks: Hooks = field(init=False, repr=False)
    tally: Tally = field(init=False, repr=False)
    _sessions: "weakref.WeakValueDictionary[str, Session]" = field(init=False, repr=False)

    def __init__(
        self,
        model: Model | str | None = None,
        *,
        instructions: str = "",
        tools: Sequence[Tool | ToolFunction] = (),
        capabilities: Sequence[Capability] = (),
        knowledge: Any = (),
        skills: bool | Sequence[str] = False,
        generation: Generation | None = None,
        runtime: Runtime | None = None,
        session_store: Store | None = None,
        name: str = "agent",
        **later: Any,
    ) -> None:
        for unknown in later:
            if unknown in _LATER:
                raise NotBuiltError(
                    f"Agent({unknown}=…) is not part of this version",
                    cause="it would be accepted and ignored",
                    fixes=_INSTEAD.get(unknown, ()),
                )
            raise LoomUsageError(f"Agent has no field '{unknown}'")
        model = (
            Model.offline() if model is None else Model.from_name(model) if isinstance(model, str) else model
        )
        _expect("model", model, Model)
        _expect("instructions", instructions, str)
        _expect("generation", generation, Generation | None)
        _expect("runtime", runtime, Runtime | None)
        _expect("name", name, str)
        if callable(tools) or not isinstance(tools, Iterable):
            raise LoomUsageError("Agent.tools is a list of functions", fixes=["tools=[my_function]"])
        if not isinstance(capabilities, Iterable):
            raise LoomUsageError("Agent.capabilities is a list", fixes=["capabilities=[Capability.files()]"])
        if session_store is not None and not callable(getattr(session_store, "append", None)):
            raise LoomUsageError(
                f"Agent(session_store={shown(session_store)})",
                cause="session_store is a store, or None for the user's own",
                fixes=['Agent(session_store=SqliteStore("runs.db"))'],
            )
        for capability in capabilities:
            _expect("capabilities", capability, Capability)
        capabilities = (*capabilities, *_knowledge(knowledge))
        values: dict[str, Any] = {
            "model": model,
            "instructions": instructions,
            "tools": tuple(as_tool(one) for one in tools),
            "capabilities": (*capabilities, *_skills(skills)),
            "generation": generation or Generation(),
            "runtime": runtime or Runtime.sdk(),
            "session_store": session_store,
            "name": name,
            "hooks": Hooks(),
            "tally": Tally(),
            "_sessions": weakref.WeakValueDictionary(),
        }
        for field_name, value in values.items():
            object.__setattr__(self, field_name, value)

    def session(self, config: SessionConfig | None = None) -> Session:
        """A conversation. The same id gives the same session, as long as it is open somewhere."""
        config = config or SessionConfig()
        if not isinstance(config, SessionConfig):
            raise LoomUsageError(
                f"agent.session({shown(config)})",
                cause="which conversation is told by a SessionConfig",
                fixes=['agent.session(SessionConfig(id="study-7"))'],
            )
        known = self._sessions.get(config.id) if config.id else None
        if known is not None and not known._closed:
            known.metadata.update(config.metadata)
            return known
        store = self.session_store
        session = Session(
            self,
            config,
            store or _default_store(),
            owns_store=store is None,
            describe=_describe,
            book=_book_beside,
            redacting=_redacting(),
        )
        self._sessions[session.id] = session
        return session

    async def run(
        self, task: str | RuntimeTask, *, context: RunContext | None = None, schema: Any = None
    ) -> RunResult:
        """Carry out one task in a session of its own.

        Never raises for a task that fails: see `result.status`, or `result.raise_for_status()`.
        """
        async with self.session() as session:
            return await session.run(task, context=context, schema=schema)

    async def stream(
        self, task: str | RuntimeTask, *, context: RunContext | None = None, schema: Any = None
    ) -> AsyncIterator[Event]:
        """Carry out one task in a session of its own, giving every event as it happens."""
        async with self.session() as session:
            async for event in session.stream(task, context=context, schema=schema):
                yield event

    def run_sync(
        self, task: str | RuntimeTask, *, context: RunContext | None = None, schema: Any = None
    ) -> RunResult:
        """`run` for code that is not async: in a script, and inside a notebook's running loop too."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.run(task, context=context, schema=schema))
        return _in_own_loop(lambda: asyncio.run(self.run(task, context=context, schema=schema)))

    async def resolve_knowledge(self, query: "KnowledgeQuery | str") -> "list[Evidence]":
        """The passages of its documents that answer a query, the best first; none without any knowledge.

        Documents that have changed are indexed before.

        Raises:
            StoreError: an index cannot be used.
            LoomError: the embedder cannot be asked.
        """
        from loom_nb.capabilities.knowledge.capability import KnowledgeCapability
        from loom_nb.capabilities.knowledge.query import KnowledgeQuery

        found: list[Evidence] = []
        for one in self.capabilities:
            if isinstance(one, KnowledgeCapability):
                base = one.base()
                await base.refresh()
                found += await base.search(query if isinstance(query, KnowledgeQuery) else one.query(query))
        return sorted(found, key=lambda one: -one.score)

    def on(self, hook: str, function: Hook) -> None:
        """Have `function(**event)` called at a point of every run; see `loom_nb.runtime.hooks`."""
        self.hooks.on(hook, function)

    def off(self, hook: str, function: Hook) -> None:
        """Take a hook back."""
        self.hooks.off(hook, function)


def _knowledge(given: Any) -> tuple[Capability, ...]:
    if isinstance(given, tuple | list) and not given:
        return ()
    from loom_nb.capabilities.knowledge.capability import KnowledgeCapability

    return (KnowledgeCapability(given),)


def _skills(given: bool | Sequence[str]) -> tuple[Capability, ...]:
    """The capability that `Agent(skills=…)` is short for."""
    if not given:
        return ()
    from loom_nb.capabilities.skills import SkillsCapability

    return (SkillsCapability(() if given is True else given),)


def _expect(name: str, value: object, kind: Any) -> None:
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", str(kind))
        raise LoomUsageError(f"Agent.{name} must be a {wanted}, not {type(value).__name__}")


def _describe(name: str, value: Any) -> DataPart:
    from loom_nb.capabilities.describe import describe_value

    return describe_value(name, value, origin=Origin("user", name))


def _default_store() -> Store:
    from loom_nb.stores import default_store

    return default_store()


@cache
def known_secrets() -> KnownSecrets:
    """What this process knows of secrets: one for all sessions, for what one was told another may show."""
    return KnownSecrets()


@cache
def _redacting() -> Redacting:
    """One for all sessions as well: it holds nothing of any of them."""
    return Redacting(known_secrets(), USED)


def _book_beside(store: Store) -> Book:
    from loom_nb.stores.spending import book_beside

    return book_beside(store)


def _kept_keys() -> KeySource:
    from loom_nb.credentials.broker import default_broker
    from loom_nb.credentials.broker.transport import ModelKeys

    global _model_keys  # noqa: PLW0603  one for the process: its transports are kept
    if _model_keys is None:
        _model_keys = ModelKeys(default_broker)
    return _model_keys


_model_keys: KeySource | None = None
kept_keys.come_from(_kept_keys)


def _in_own_loop(work: Callable[[], RunResult]) -> RunResult:
    """Run a coroutine to its end in a thread with a loop of its own; what it raises is raised here."""
    outcome: list[RunResult | BaseException] = []
    context = contextvars.copy_context()

    def target() -> None:
        try:
            outcome.append(context.run(work))
        except BaseException as error:  # noqa: BLE001  carried over to the calling thread, whatever it is
            outcome.append(error)

    thread = threading.Thread(target=target, name="loom-run-sync", daemon=True)
    thread.start()
    thread.join()
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result
