"""The gate: may this secret be used now, by whom, for that? A function from facts to a ruling.

In this order: who (grants), where (binding), when (policy). The first that refuses ends it; what nobody has
spoken of is refused.
"""

from datetime import UTC, datetime

from loom_nb.credentials.places import (
    DEFAULT_PORTS,
    NoPlace,
    Place,
    canonical_host,
    covers_host,
    covers_path,
    is_loopback,
)
from loom_nb.credentials.policies import Binding, CredentialPolicy, SecretFacts
from loom_nb.credentials.uses import Ruling, Use
from loom_nb.errors import LoomUsageError

CLOCK_SLACK = 60.0
"""Seconds by which the clock may stand before the last moment written down: clocks are set, a little."""


def ruling(facts: SecretFacts, use: Use, now: float, seen: float = float("-inf")) -> Ruling:
    """What the policy of a secret says of a use.

    Args:
        facts: of the secret.
        use: who wants it, for what.
        now: the system's clock, in seconds since 1970 (UTC).
        seen: the last moment that was written down. A clock that stands before it has been turned back, and
            opens no time box.

    Returns:
        "allow"; "ask": a person has to say yes to this very use; or "deny", which no yes changes. The reason
        is for a person, and names the secret, who wants it, and where it would go.
    """
    try:
        refused = _who(facts.grants, use) or _where(facts.binding, use) or _when(facts.policy, now, seen)
    except (NoPlace, LoomUsageError) as problem:
        refused = str(problem).partition("\n")[0]
    what = f"{wish(facts.scope, use.who)}{_request(use)}"
    if refused:
        return Ruling("deny", f"{what}: {refused}")
    if facts.policy.mode == "notify_before" and not use.approved:
        return Ruling("ask", f"{what}: its policy is to ask before each use")
    return Ruling("allow", f"{what}: {_ALLOWS[facts.policy.mode]}")


_ALLOWS = {
    "autonomous": "its policy lets it",
    "notify_before": "a person said yes",
    "notify_after": "its policy lets it, and it is told",
    "time_boxed": "its time box is open",
    "one_shot": "its policy has uses left",
}


def wish(scope: str, who: str) -> str:
    """How the reason of a ruling begins: "http_request wants the secret github for "."""
    kind, _, name = who.partition(":")
    named = {"tool": name, "model": f"the model client of {name}", "person": "you"}.get(kind, who)
    return f"{named or 'somebody'} wants the secret {scope} for "


def _request(use: Use) -> str:
    """The request in words, whatever is in it."""
    host = f"[{use.host}]" if ":" in use.host and not use.host.startswith("[") else use.host
    port = f":{use.port}" if use.port and use.port != DEFAULT_PORTS.get(use.scheme) else ""
    path = "" if use.scheme == "ssh" else use.path
    text = f"{use.method} {use.scheme}://{host}{port}{path}" if use.host else "nowhere"
    plain = "".join(one if one.isprintable() else "�" for one in text)
    return plain if len(plain) <= 300 else f"{plain[:299]}…"


def _who(grants: tuple[str, ...], use: Use) -> str:
    """Why it may not be used by whoever wants it; empty if it may."""
    wanted: dict[str, set[str]] = {}
    for grant in grants:
        kind, colon, name = grant.partition(":")
        if kind not in ("notebook", "tool", "model", "agent") or not colon or not name:
            return f"it is granted to {grant!r}, which is nobody: notebook:…, tool:…, model:… or agent:…"
        wanted.setdefault(kind, set()).add(name)
    who, _, name = use.who.partition(":")
    is_ = {"notebook": use.notebook, "agent": use.agent}
    for kind, names in wanted.items():
        mine = is_.get(kind) or (name if who == kind else "")
        if mine not in names:
            return f"it is granted to {kind} {' or '.join(sorted(names))}" + (f", not {mine}" if mine else "")
    return ""


def _where(binding: Binding, use: Use) -> str:
    """Why it may not go there; empty if it may. Raises `NoPlace` for a place that is none."""
    if not binding.hosts:
        return "it is bound to no host, so it goes nowhere"
    if use.scheme not in DEFAULT_PORTS:
        return f"a secret does not go over {use.scheme or 'nothing'}"
    to = Place(use.scheme, canonical_host(use.host), use.port or DEFAULT_PORTS[use.scheme], use.path or "/")
    if to.scheme == "http" and not (binding.plain and is_loopback(to.host)):
        return "a secret does not go over plain HTTP" + (
            ", unless it is told so (plain)" if is_loopback(to.host) else ""
        )
    if not any(covers_host(host, to) for host in binding.hosts):
        return f"it is bound to {', '.join(binding.hosts)}, not to {to.authority}"
    if binding.methods and use.method not in binding.methods:
        return f"it is bound to {', '.join(binding.methods)}, not to {use.method or 'no method'}"
    if to.scheme == "ssh" and (binding.paths or not binding.user):
        return "it is bound to paths, which SSH has not" if binding.paths else "it is bound to no user of SSH"
    if binding.paths and not covers_path(binding.paths, to.path):
        return f"it is bound to paths below {', '.join(binding.paths)}"
    return ""


def _when(policy: CredentialPolicy, now: float, seen: float) -> str:
    """Why it may not be used at this time; empty if it may. `LoomUsageError`: for a zone that is none."""
    if policy.uses is not None and policy.uses < 1:
        return "it has no uses left"
    boxed = policy.start is not None or policy.end is not None or bool(policy.windows)
    if policy.mode == "time_boxed" and not boxed:
        return "its time box has no times"
    if not boxed:
        return ""
    if not now >= seen - CLOCK_SLACK:
        return f"the clock was turned back: {_moment(seen)} has been before, and time boxes stay closed"
    if policy.start is not None and not now >= policy.start:
        return f"its time box opens at {_moment(policy.start)}"
    if policy.end is not None and not now < policy.end:
        return f"its time box closed at {_moment(policy.end)}"
    if policy.windows and not any(window.holds(now) for window in policy.windows):
        return f"its time box is open {', and '.join(map(str, policy.windows))}"
    return ""


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"second {seconds:g}"
