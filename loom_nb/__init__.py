"""loom_nb: an agent runtime that lives in your notebook.

    %load_ext loom_nb

    %%loom
    what data do I have here?

The names below are loaded on first use, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from loom_nb.agent import Agent
    from loom_nb.capabilities import Capability
    from loom_nb.capabilities.attaching import attach
    from loom_nb.capabilities.knowledge.base import KnowledgeBase
    from loom_nb.capabilities.knowledge.query import Evidence, KnowledgeQuery
    from loom_nb.capabilities.knowledge.sources import KnowledgeSource
    from loom_nb.capabilities.memory.notes import Note
    from loom_nb.capabilities.memory.ranking import MemoryWeights
    from loom_nb.capabilities.memory.store import NoteStore
    from loom_nb.errors import (
        AnswerRefused,
        EmbeddingError,
        LoomError,
        ModelError,
        RunFailed,
        SetupError,
        ToolError,
    )
    from loom_nb.inputs import Answer, RunContext, RuntimeTask, SessionConfig, Stop
    from loom_nb.messages import Message, Usage
    from loom_nb.models.embeddings import OllamaEmbedder, OpenAIEmbedder
    from loom_nb.models.registry import Model
    from loom_nb.protocols import Generation, Verdict
    from loom_nb.questions import Decision, Option, Question
    from loom_nb.retrieval.model2vec import Model2VecEmbedder
    from loom_nb.runtime import frames
    from loom_nb.runtime.artifacts import Artifact, artifact
    from loom_nb.runtime.compaction import ContextProtocol
    from loom_nb.runtime.continuity import ContinuityPolicy
    from loom_nb.runtime.governance import GovernancePolicy
    from loom_nb.runtime.harness import Candidate, Harness, Trial
    from loom_nb.runtime.limits import Limits
    from loom_nb.runtime.policies import Runtime
    from loom_nb.runtime.preflight import Preflight
    from loom_nb.runtime.quality import Acceptance, QualityGate
    from loom_nb.runtime.retry import RetryPolicy
    from loom_nb.runtime.rules import (
        Allow,
        Ask,
        Between,
        Deny,
        Destructive,
        Hosts,
        InsideRoot,
        MaxCost,
        Once,
        PerMinute,
        ReadOnly,
        Veto,
        WhenUntrusted,
    )
    from loom_nb.runtime.run import Run, RunResult
    from loom_nb.runtime.session import Session
    from loom_nb.runtime.session_restore import SessionRestorePolicy
    from loom_nb.runtime.spending import SpendingCaps
    from loom_nb.stores.files import FileSessionStore
    from loom_nb.stores.memory import MemoryStore
    from loom_nb.stores.sqlite import SqliteStore
    from loom_nb.tools import Assessment, Tool, tool

_HOMES = {
    "Acceptance": "loom_nb.runtime.quality",
    "Agent": "loom_nb.agent",
    "Allow": "loom_nb.runtime.rules",
    "Answer": "loom_nb.inputs",
    "AnswerRefused": "loom_nb.errors",
    "Artifact": "loom_nb.runtime.artifacts",
    "Ask": "loom_nb.runtime.rules",
    "Assessment": "loom_nb.tools",
    "Between": "loom_nb.runtime.rules",
    "Candidate": "loom_nb.runtime.harness",
    "Capability": "loom_nb.capabilities",
    "ContextProtocol": "loom_nb.runtime.compaction",
    "ContinuityPolicy": "loom_nb.runtime.continuity",
    "Decision": "loom_nb.questions",
    "Deny": "loom_nb.runtime.rules",
    "Destructive": "loom_nb.runtime.rules",
    "EmbeddingError": "loom_nb.errors",
    "Evidence": "loom_nb.capabilities.knowledge.query",
    "FileSessionStore": "loom_nb.stores.files",
    "Generation": "loom_nb.protocols",
    "GovernancePolicy": "loom_nb.runtime.governance",
    "Harness": "loom_nb.runtime.harness",
    "Hosts": "loom_nb.runtime.rules",
    "InsideRoot": "loom_nb.runtime.rules",
    "KnowledgeBase": "loom_nb.capabilities.knowledge.base",
    "KnowledgeQuery": "loom_nb.capabilities.knowledge.query",
    "KnowledgeSource": "loom_nb.capabilities.knowledge.sources",
    "Limits": "loom_nb.runtime.limits",
    "LoomError": "loom_nb.errors",
    "MaxCost": "loom_nb.runtime.rules",
    "MemoryStore": "loom_nb.stores.memory",
    "MemoryWeights": "loom_nb.capabilities.memory.ranking",
    "Message": "loom_nb.messages",
    "Model": "loom_nb.models.registry",
    "Model2VecEmbedder": "loom_nb.retrieval.model2vec",
    "ModelError": "loom_nb.errors",
    "OllamaEmbedder": "loom_nb.models.embeddings",
    "Note": "loom_nb.capabilities.memory.notes",
    "NoteStore": "loom_nb.capabilities.memory.store",
    "Once": "loom_nb.runtime.rules",
    "OpenAIEmbedder": "loom_nb.models.embeddings",
    "Option": "loom_nb.questions",
    "PerMinute": "loom_nb.runtime.rules",
    "Preflight": "loom_nb.runtime.preflight",
    "QualityGate": "loom_nb.runtime.quality",
    "Question": "loom_nb.questions",
    "ReadOnly": "loom_nb.runtime.rules",
    "RetryPolicy": "loom_nb.runtime.retry",
    "Run": "loom_nb.runtime.run",
    "RunContext": "loom_nb.inputs",
    "RunFailed": "loom_nb.errors",
    "RunResult": "loom_nb.runtime.run",
    "Runtime": "loom_nb.runtime.policies",
    "RuntimeTask": "loom_nb.inputs",
    "Session": "loom_nb.runtime.session",
    "SessionConfig": "loom_nb.inputs",
    "SessionRestorePolicy": "loom_nb.runtime.session_restore",
    "SetupError": "loom_nb.errors",
    "SpendingCaps": "loom_nb.runtime.spending",
    "SqliteStore": "loom_nb.stores.sqlite",
    "Stop": "loom_nb.inputs",
    "Tool": "loom_nb.tools",
    "ToolError": "loom_nb.errors",
    "Trial": "loom_nb.runtime.harness",
    "Usage": "loom_nb.messages",
    "Verdict": "loom_nb.protocols",
    "Veto": "loom_nb.runtime.rules",
    "WhenUntrusted": "loom_nb.runtime.rules",
    "artifact": "loom_nb.runtime.artifacts",
    "attach": "loom_nb.capabilities.attaching",
    "frames": "loom_nb.runtime",
    "tool": "loom_nb.tools",
}

__all__ = [
    "Acceptance",
    "Agent",
    "Allow",
    "Answer",
    "AnswerRefused",
    "Artifact",
    "Ask",
    "Assessment",
    "Between",
    "Candidate",
    "Capability",
    "ContextProtocol",
    "ContinuityPolicy",
    "Decision",
    "Deny",
    "Destructive",
    "EmbeddingError",
    "Evidence",
    "FileSessionStore",
    "Generation",
    "GovernancePolicy",
    "Harness",
    "Hosts",
    "InsideRoot",
    "KnowledgeBase",
    "KnowledgeQuery",
    "KnowledgeSource",
    "Limits",
    "LoomError",
    "MaxCost",
    "MemoryStore",
    "MemoryWeights",
    "Message",
    "Model",
    "Model2VecEmbedder",
    "ModelError",
    "Note",
    "NoteStore",
    "OllamaEmbedder",
    "Once",
    "OpenAIEmbedder",
    "Option",
    "PerMinute",
    "Preflight",
    "QualityGate",
    "Question",
    "ReadOnly",
    "RetryPolicy",
    "Run",
    "RunContext",
    "RunFailed",
    "RunResult",
    "Runtime",
    "RuntimeTask",
    "Session",
    "SessionConfig",
    "SessionRestorePolicy",
    "SetupError",
    "SpendingCaps",
    "SqliteStore",
    "Stop",
    "Tool",
    "ToolError",
    "Trial",
    "Usage",
    "Verdict",
    "Veto",
    "WhenUntrusted",
    "artifact",
    "attach",
    "frames",
    "load_ipython_extension",
    "tool",
    "unload_ipython_extension",
]


def load_ipython_extension(ipython: Any) -> None:
    """What `%load_ext loom_nb` calls."""
    from loom_nb.notebook.extension import load_ipython_extension as load

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """What `%unload_ext loom_nb` calls."""
    from loom_nb.notebook.extension import unload_ipython_extension as unload

    unload(ipython)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'loom_nb' has no attribute {name!r}")
    room = import_module(home)
    value = getattr(room, name, None) or import_module(f"{home}.{name}")  # or a module in that room
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
