"""Puts calls before the judge without running them: `loom-nb policy check cases.jsonl`.

One case a line, `{"tool": …, "arguments": {…}}` and, where wanted, `root` (the folder of files and
commands), `origins` (what is in the context, or where arguments come from), `tier` ("T0" without, "T1"
with a sandbox), `mode` and `expect`. One verdict a line comes out.
"""

import dataclasses
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from loom_nb.border import parse_object
from loom_nb.capabilities import Capability
from loom_nb.capabilities.python import PythonCapability
from loom_nb.errors import BorderError, LoomError, LoomUsageError, ToolError
from loom_nb.messages import Origin, OriginKind
from loom_nb.protocols import Call, Scene, Taint, Toolset
from loom_nb.runtime.governance import GovernancePolicy
from loom_nb.runtime.tally import Tally
from loom_nb.settings import MODES
from loom_nb.tools import Assessment, Tool

KINDS: tuple[str, ...] = get_args(OriginKind)
TIERS = ("T0", "T1")
_KNOWN = {"tool", "arguments", "root", "origins", "tier", "mode", "expect", "why", "note"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What the judge says of one case."""

    line: int
    tool: str
    verdict: str
    reason: str
    rule: str
    expect: str = ""

    @property
    def as_expected(self) -> bool:
        """Whether the case expects this, or nothing. "not allow" is ask or deny."""
        if self.expect == "not allow":
            return self.verdict in ("ask", "deny")
        return self.expect in ("", self.verdict)

    def plain(self) -> dict[str, Any]:
        """As plain data, for one line of JSON."""
        told = {
            "line": self.line,
            "tool": self.tool,
            "verdict": self.verdict,
            "reason": self.reason,
            "rule": self.rule,
        }
        return told if not self.expect else {**told, "expect": self.expect, "ok": self.as_expected}


@dataclass
class PolicyCheck:
    """Judges cases with the tools of the built-in capabilities. An async context manager.

    Args:
        policy: the judge; the one of a notebook, in the mode of each case, where it is None.
        root: the folder of cases that name none.
    """

    policy: GovernancePolicy | None = None
    root: str = "."
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack, init=False, repr=False)
    _opened: dict[tuple[str, str], "_Kit"] = field(default_factory=dict, init=False, repr=False)

    async def __aenter__(self) -> "PolicyCheck":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def check(self, lines: Iterable[str]) -> AsyncIterator[Finding]:
        """A finding for each line that is not empty.

        Raises:
            LoomUsageError: a line is no case; names the line and what is wrong with it.
        """
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield await self._judge(number, _case(number, line))

    async def tools(self) -> list[Tool]:
        """The tools that cases may name."""
        kit = await self._kit(self.root, "T1")
        return [kit.tools[name] for name in sorted(kit.tools)]

    async def _judge(self, number: int, case: Mapping[str, Any]) -> Finding:
        name, expect = case["tool"], str(case.get("expect", ""))
        kit = await self._kit(str(case.get("root") or self.root), case.get("tier", "T1"))
        tool = kit.tools.get(name)
        if tool is None:
            return Finding(number, name, "deny", f"there is no tool '{name}'", "unknown tool", expect)
        if self.policy is None:
            policy = GovernancePolicy.supervised(mode=case.get("mode", "ask"))
        else:
            policy = dataclasses.replace(self.policy, mode=case.get("mode", self.policy.mode))
        try:
            plain = kit.here(case.get("arguments", {}))
            arguments = tool.validate(plain)
        except (ToolError, BorderError) as error:
            return Finding(number, name, "deny", error.title, "arguments", expect)
        call = Call(
            f"c{number}", name, arguments, tool, "r1", "s1", _assessed(tool, arguments),
            kit.brought_by[name], _scene(policy, case.get("origins")), plain,
        )  # fmt: skip
        verdict = await policy.judge(call)
        return Finding(number, name, verdict.decision, verdict.reason, verdict.by, expect)

    async def _kit(self, root: str, tier: str) -> "_Kit":
        key = (root, tier)
        if key not in self._opened:
            self._opened[key] = await self._stack.enter_async_context(_equipped(root, tier))
        return self._opened[key]


@dataclass(frozen=True, slots=True)
class _Kit:
    tools: dict[str, Tool]
    brought_by: dict[str, str]
    root: str
    real: str
    """The folder that stands in for the root where that does not exist."""

    def here(self, value: Any) -> Any:
        """Arguments with the root replaced by what stands in for it."""
        if self.root == self.real:
            return value
        if isinstance(value, str):
            return value.replace(self.root, self.real)
        if isinstance(value, dict):
            return {name: self.here(inner) for name, inner in value.items()}
        return [self.here(inner) for inner in value] if isinstance(value, list) else value


@asynccontextmanager
async def _equipped(root: str, tier: str) -> AsyncIterator[_Kit]:
    async with AsyncExitStack() as stack:
        real = root
        if not _is_folder(root):
            real = stack.enter_context(tempfile.TemporaryDirectory(prefix="loom-policy-"))
        kit = _Kit({}, {}, root, real)
        for capability in _capabilities(real, tier):
            toolset: Toolset = await capability.open()
            if toolset.close is not None:
                stack.push_async_callback(toolset.close)
            for tool in toolset.tools:
                kit.tools[tool.name] = tool
                kit.brought_by[tool.name] = capability.name
        yield kit


def _is_folder(path: str) -> bool:
    return Path(path).expanduser().is_dir()


def _capabilities(root: str, tier: str) -> list[Any]:
    return [
        Capability.files(root, read_only=False),
        Capability.shell(root, sandbox="none" if tier == "T0" else "auto"),
        Capability.web(),
        Capability.http(),
        PythonCapability({}),
        Capability.variables({}),
        Capability.human(),
        Capability.plan(),
        Capability.scratchpad(),
    ]


def _assessed(tool: Tool, arguments: dict[str, Any]) -> Assessment | None:
    if tool.assess is None:
        return None
    try:
        return tool.assess(**arguments)
    except Exception as error:  # noqa: BLE001  an error in a judge denies, whatever it is
        return Assessment(tool.effects, refusal=f"{type(error).__name__}: {error}")


def _scene(policy: GovernancePolicy, origins: Any) -> Scene:
    if isinstance(origins, Mapping):
        arguments = {name: _origin(one) for name, one in origins.items()}
        taint = Taint(
            frozenset(origin.kind for origin in arguments.values() if not origin.trusted), arguments
        )
    else:
        taint = Taint(frozenset(_origin(one).kind for one in origins or ()) - {"user", "system", "notebook"})
    tallies = {"session": Tally(), "agent": Tally()}
    return Scene(mode=policy.mode, now=0.0, cost=0.0, tallies=tallies, trace=lambda _: taint)


def _origin(text: Any) -> Origin:
    kind, _, source = str(text).partition(":")
    return Origin(kind, source)  # type: ignore[arg-type]  # `_case` has seen that it is one


def _case(number: int, line: str) -> dict[str, Any]:
    try:
        case = parse_object(line, what=f"line {number}")
    except BorderError as error:
        raise LoomUsageError(f"line {number} is no JSON object", cause=error.title) from None
    wrong = _what_is_wrong(case)
    if wrong:
        raise LoomUsageError(
            f"line {number}: {wrong}",
            fixes=['{"tool": "run_command", "arguments": {"command": "ls"}, "expect": "allow"}'],
        )
    return case


def _what_is_wrong(case: Mapping[str, Any]) -> str:
    unknown = sorted(case.keys() - _KNOWN)
    if unknown:
        return f"unknown field '{unknown[0]}'"
    if not isinstance(case.get("tool"), str) or not isinstance(case.get("arguments", {}), dict):
        return "a case has a tool (a name) and arguments (an object)"
    if case.get("mode", "ask") not in MODES:
        return f"mode is one of {', '.join(MODES)}"
    if case.get("tier", "T1") not in TIERS:
        return f"tier is one of {', '.join(TIERS)}"
    if case.get("expect", "allow") not in ("allow", "ask", "deny", "not allow"):
        return "expect is allow, ask, deny or 'not allow'"
    origins = case.get("origins") or []
    listed = list(origins.values()) if isinstance(origins, dict) else origins
    if not isinstance(listed, list) or any(str(one).partition(":")[0] not in KINDS for one in listed):
        return (
            f"origins is a list, or an object by argument, of {', '.join(KINDS)} (with `:source` if wanted)"
        )
    return ""


def policy_from(name: str) -> GovernancePolicy:
    """A policy by `module:attribute`, a mode, or "default".

    Raises:
        LoomUsageError: there is none of that name.
    """
    if name in MODES:
        return GovernancePolicy.supervised(mode=name)
    module, _, attribute = name.partition(":")
    try:
        from importlib import import_module

        found = getattr(import_module(module), attribute or "policy")
    except LoomError:
        raise
    except Exception as error:  # noqa: BLE001  the border: a module of the user fails in any way it likes
        raise LoomUsageError(
            f"--policy {name}: {type(error).__name__}: {error}", fixes=["--policy my_module:policy"]
        ) from None
    if not isinstance(found, GovernancePolicy):
        raise LoomUsageError(f"--policy {name} is a {type(found).__name__}, not a GovernancePolicy")
    return found
