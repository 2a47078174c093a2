"""Whether a model has a key that may be used from this notebook: what cards and errors say of it."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from loom_nb.credentials.gate import ruling
from loom_nb.credentials.policies import SecretFacts
from loom_nb.credentials.secrets import SECRET_TYPES
from loom_nb.credentials.uses import Ruling, Use
from loom_nb.errors import LoomError, LoomKeyError, SecretsLocked
from loom_nb.models import key_errors
from loom_nb.notebook.key_vendors import vendor_named

if TYPE_CHECKING:
    from loom_nb.models.registry import Model
    from loom_nb.notebook.workbench import Workbench

Kind = Literal["none needed", "environment", "kept", "asks", "locked", "not granted", "missing"]


@dataclass(frozen=True, slots=True)
class KeyState:
    """How it stands with the key of one vendor."""

    kind: Kind
    words: str
    """Names a variable or a secret, never a value."""
    fix: str = ""
    """What to type where it cannot be used."""

    @property
    def usable(self) -> bool:
        """Whether a call would find a key."""
        return self.kind in ("none needed", "environment", "kept")


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of the secrets that are kept, at one moment."""

    facts: Mapping[str, SecretFacts] = field(default_factory=dict)
    locked: bool = False
    notebook: str = ""
    now: float = 0.0
    problem: str = ""
    """Why it cannot be told what is kept; empty where it can."""


def kept_by(bench: "Workbench") -> Kept:
    """What is kept on this machine; where nothing ever was, nothing is started to find that out."""
    from loom_nb.notebook.key_places import is_begun, way_of

    home = bench.settings.home
    if not bench.has_secrets and not is_begun(home):
        return Kept(notebook=bench.notebook, now=time.time())
    try:
        facts = {one.scope: one for one in bench.secrets.list()}
    except LoomError as error:
        return Kept(notebook=bench.notebook, now=time.time(), problem=error.title)
    locked = False
    if facts and way_of(home) == "passphrase":
        try:
            bench.secrets.unlock()
        except SecretsLocked:
            locked = True
        except LoomError:
            locked = False
    return Kept(facts, locked, bench.notebook, time.time())


_TYPES = {
    "http": frozenset(SECRET_TYPES) - {"ssh_private_key", "password"},
    "ssh": frozenset({"ssh_private_key", "password"}),
}
_TOOLS = {"http": ("http_request",), "ssh": ("ssh_call", "ssh_session")}


def granted(kept: Kept, name: str) -> tuple[str, ...]:
    """The secrets that an agent may name with a capability: of its types, bound, and granted to it here.

    Keys of models are not among them, nor what is granted to agents or notebooks other than these.
    """
    found = []
    for facts in kept.facts.values():
        names: dict[str, set[str]] = {}
        for kind, _, one in (grant.partition(":") for grant in facts.grants):
            names.setdefault(kind, set()).add(one)
        mine = {
            "notebook": {kept.notebook},
            "tool": set(_TOOLS[name]),
            "agent": {"notebook"},
            "model": set[str](),
        }
        fits = all(mine.get(kind, set()) & those for kind, those in names.items())
        bound = bool(facts.binding.hosts) and (name == "http" or bool(facts.binding.user))
        if facts.type in _TYPES[name] and bound and fits:
            found.append(facts.scope)
    return tuple(sorted(found))


def key_state(model: "Model", environ: Mapping[str, str], kept: Kept) -> KeyState:
    """Of a plain model; of a chain or a route the first of its models that has one."""
    if model.members:
        states = [key_state(one, environ, kept) for one in model.members]
        words = " · ".join(dict.fromkeys(one.words for one in states if one.kind != "none needed"))
        best = next((one for one in states if one.usable), states[0])
        return KeyState(best.kind, words or best.words, best.fix)
    if not model.key_env or (model.vendor not in kept.facts and model.has_key() and not _set(model, environ)):
        return KeyState("none needed", "none needed")
    facts = kept.facts.get(model.vendor)
    found = _set(model, environ)
    if found:  # it comes first, whatever is kept
        also = "; the one that is kept here is not used" if facts is not None else ""
        return KeyState("environment", f"{found} is set{also}")
    if facts is None or facts.type not in ("api_key", "bearer_token"):
        fix = f"%loom key set {model.vendor}" if vendor_named(model.vendor) else ""
        more = f"; {kept.problem}" if kept.problem else ""
        return KeyState("missing", f"none: {' or '.join(model.key_env)} is not set{more}", fix)
    return _kept_state(facts, kept)


def _set(model: "Model", environ: Mapping[str, str]) -> str:
    return next((name for name in model.key_env if environ.get(name, "").strip()), "")


def _kept_state(facts: SecretFacts, kept: Kept) -> KeyState:
    if kept.locked:
        return KeyState("locked", "kept here, locked", "%loom key unlock")
    said = ruled(facts, kept)
    match said.decision:
        case "allow":
            return KeyState("kept", "kept here")
        case "ask":
            fix = f"%loom key policy {facts.scope} autonomous"
            return KeyState(
                "asks", "kept here, but it asks before each use, which a model's call cannot", fix
            )
        case "deny":
            return KeyState("not granted", f"kept here, not for this: {why(said)}", fix_of(facts, kept))


def ruled(facts: SecretFacts, kept: Kept) -> Ruling:
    """What the policy of a vendor's key says of a call from this notebook to where it is bound."""
    host, _, port = facts.binding.hosts[0].partition(":") if facts.binding.hosts else ("", "", "")
    use = Use(
        scope=facts.scope, who=f"model:{facts.scope}", notebook=kept.notebook, method="POST",
        scheme="http" if facts.binding.plain else "https", host=host.removeprefix("*."),
        port=int(port) if port.isdecimal() else 0,
        path=facts.binding.paths[0] if facts.binding.paths else "/",
    )  # fmt: skip
    return ruling(facts, use, kept.now)


def why(said: Ruling) -> str:
    """The reason without the sentence before it that says who wants what."""
    return said.reason.partition(": ")[2] or said.reason


def fix_of(facts: SecretFacts, kept: Kept) -> str:
    """What lets a vendor's key be used here again, as far as its facts tell."""
    name = facts.scope
    notebooks = [one for one in facts.grants if one.startswith("notebook:")]
    if notebooks and f"notebook:{kept.notebook}" not in notebooks:
        return f"%loom key grant {name} --here" if kept.notebook else f"%loom key grant {name} --any notebook"
    models = [one for one in facts.grants if one.startswith("model:")]
    if models and f"model:{name}" not in models:
        return f"%loom key grant {name} --model {name}"
    if not facts.binding.hosts:
        return f"%loom key bind {name} --host H"
    return f"%loom key policy {name} autonomous"


def advise(bench: "Workbench", error: LoomKeyError, model: "Model") -> None:
    """Let an error of a missing key say what is kept here, and the fix that fits."""
    if type(error) is not LoomKeyError or not model.key_env or model.members:
        return
    kept = kept_by(bench)
    if model.vendor in kept.facts or kept.problem:
        return
    fuller = key_errors.no_key(
        model.vendor, model.key_env, kept=sorted(kept.facts), known=vendor_named(model.vendor) is not None
    )
    if error.title == fuller.title:
        error.cause, error.fixes = fuller.cause, fuller.fixes


def in_environment() -> list[str]:
    """The variables of this kernel that hold the key of a vendor, by name."""
    from loom_nb.models.registry import VENDORS

    return [name for one in VENDORS.values() for name in one.key_env if os.environ.get(name, "").strip()]
