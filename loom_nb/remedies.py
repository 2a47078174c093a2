"""What a person can type when a run did not complete: for every way of ending, up to three things.

What is typed in a notebook stands first; what says the same in a program ends in `(a script)`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

MOST = 3
"""What an error tells of them."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an end beside its name.

    What is not known is told in capitals or as a usual limit; lines of a variable are left out then.
    """

    vendor: str = ""
    """Of the model."""
    variable: str = ""
    """The environment variable that held its key."""
    wait: float | None = None
    """Seconds after which the vendor wants to be asked again."""
    tool: str = ""
    """That was refused."""
    turns: int | None = None
    """The limit of model calls, as of what follows: twice as much is named."""
    seconds: float | None = None
    tokens: int | None = None
    dollars: float | None = None
    repeats: int | None = None
    """Of the same failure."""


_NOTHING_KNOWN = Known()
_AGAIN = "run the cell again"
_ANSWERED = "%loom show last   (what it answered)"
_OFFLINE = "%%loom -m offline   (needs no key)"
_OTHER_MODEL = "%loom models   (another model)"
_PATIENCE = "Runtime(retry=RetryPolicy(max_attempts=8))   (a script)"
_GO_ON = 'session.run("go on")   (a script: what had come is kept)'

REMEDIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("limit", "turns"): (
        "%%loom --max-steps {turns}",
        "Runtime(limits=Limits(max_iterations={turns}))   (a script)",
    ),
    ("limit", "tokens"): (
        "%loom budget   (what was spent, and the caps)",
        "Runtime(limits=Limits(max_tokens={tokens}))   (a script)",
    ),
    ("limit", "cost"): (
        "%loom budget   (what was spent, and the caps)",
        "Runtime(limits=Limits(max_cost={dollars}))   (a script)",
    ),
    ("limit", "timeout"): (
        "%%loom --timeout {seconds}",
        "Runtime(limits=Limits(timeout={seconds}))   (a script)",
    ),
    ("limit", "stuck"): (
        "%loom show last   (what the calls answered)",
        "say in the prompt what to do instead",
        "Runtime(limits=Limits(stuck={repeats}))   (a script)",
    ),
    ("limit", "length"): (
        'ask for a shorter answer, or say "go on" in the next cell',
        "Generation(max_output_tokens=16_000)   (a script)",
    ),
    ("limit", "context"): (
        "%loom context   (what takes the room)",
        "%%loom --new",
        "Runtime(context=ContextProtocol(budget=200_000))   (a script)",
    ),
    ("denied", "denied"): (
        "%loom policy   (which rule refused it)",
        "%loom show last   (what it was about to do)",
    ),
    ("denied", "read-only"): (
        "%%loom --approve ask",
        "Runtime(governance=GovernancePolicy.default())   (a script)",
    ),
    ("denied", "nobody to ask"): (
        "LOOM_NB_ALLOW={tool}   (in the environment of the program that runs the notebook)",
        'Runtime(governance=GovernancePolicy.default().with_rules(Allow("{tool}")))   (a script)',
        "@tool(read_only=True)   (if it only looks)",
    ),
    ("denied", "by a person"): ("run the cell again   (you are asked again)", "%loom approvals"),
    ("denied", "unanswered"): (
        "run the cell again   (you are asked again)",
        "Runtime.supervised(answer_within=3600)   (a script)",
    ),
    ("failed", "auth"): (
        "%loom key set {vendor}   (hidden input, kept encrypted{before})",
        'import os, getpass; os.environ["{variable}"] = getpass.getpass()   (a script)',
        _OFFLINE,
    ),
    ("failed", "permission"): (
        "%loom models   (one that this key may use)",
        "%loom key set {vendor}   (another key, hidden input{before})",
        "ask for access to the model at {vendor}",
    ),
    ("failed", "billing"): (
        "look at the credit and the limits of your account at {vendor}",
        "%loom models   (another vendor)",
        _OFFLINE,
    ),
    ("failed", "rate_limit"): (f"{_AGAIN} in {{wait}}", _OTHER_MODEL, "{patience}"),
    ("failed", "overloaded"): (f"{_AGAIN} in {{wait}}", _OTHER_MODEL, _PATIENCE),
    ("failed", "server_error"): (f"{_AGAIN} in {{wait}}", _OTHER_MODEL, _PATIENCE),
    ("failed", "timeout"): (_AGAIN, _OTHER_MODEL, _PATIENCE),
    ("failed", "connection"): ("check the network, the proxy and the base URL", "%loom doctor", _AGAIN),
    ("failed", "cut_stream"): (_AGAIN, 'or say "go on" in the next cell: what had come is kept', _GO_ON),
    ("failed", "context_overflow"): (
        "%loom compact",
        "%%loom --new",
        "Runtime(context=ContextProtocol(budget=100_000))   (a script)",
    ),
    ("failed", "payload_too_large"): ("attach smaller files or images", "%%loom --new"),
    ("failed", "model_not_found"): ("%loom models", _OFFLINE, "check the model's name and the base URL"),
    ("failed", "format"): (_AGAIN, _ANSWERED, _OTHER_MODEL),
    ("failed", "content_filter"): (
        "ask in other words",
        "%%loom --new   (without what was said before)",
        _OTHER_MODEL,
    ),
    ("failed", "unknown"): (_AGAIN, "%loom traceback   (the whole error)", "%loom doctor"),
    ("failed", "key"): ("%loom key   (what is kept)", "%loom doctor", _OFFLINE),
    ("failed", "setup"): ("%loom traceback   (the whole error)", "%loom doctor"),
    ("failed", "store"): (
        "%loom doctor   (whether the log can be written)",
        "Agent(session_store=MemoryStore())   (a script: nothing is kept on disk)",
    ),
    ("failed", "credential"): ("%loom key   (what is kept)", "%loom doctor"),
    ("failed", "replay"): (
        "%%loom --replay record   (asks the model, and records anew)",
        "%%loom --replay off",
        'Model.cassette(path, model, mode="record")   (a script)',
    ),
    ("failed", "quality"): (
        "%loom show last   (what was not accepted, and why)",
        _AGAIN,
        "Runtime(quality=QualityGate.pass_fail(attempts=6))   (a script)",
    ),
    ("failed", "harness"): (
        "mend the function of its Harness.custom(…)",
        "%loom show last   (what it tried)",
    ),
    ("failed", "internal"): ("%loom traceback   (the whole error)", "%loom doctor"),
    ("stopped", ""): (_AGAIN, 'or say "go on" in the next cell: what was done is kept', _GO_ON),
    ("interrupted", ""): ("%loom resume", "%loom runs", "await session.resume(run_id)   (a script)"),
}
"""By status and fault. `permission` is an `auth` where the key is a good one; of a denied run it is told
more closely who said no."""

_OF_STATUS: dict[str, tuple[str, ...]] = {
    "limit": ("%loom show last   (how far it came)", "%loom config   (the limits)"),
    "denied": REMEDIES["denied", "denied"],
    "failed": REMEDIES["failed", "internal"],
    "stopped": REMEDIES["stopped", ""],
    "interrupted": REMEDIES["interrupted", ""],
}
"""For what another version, or somebody else's model, has named."""


def remedies(status: str, fault: str = "", known: Known = _NOTHING_KNOWN) -> tuple[str, ...]:
    """What to type after an end. Nothing where a run completed.

    Args:
        status: of the run: "limit", "denied", "failed", "stopped", "interrupted".
        fault: its class.
        known: whatever else is known of it.
    """
    forms = REMEDIES.get((status, fault)) or _OF_STATUS.get(status, ())
    facts = _facts(known)
    return tuple(form.format_map(facts) for form in forms if all(facts.get(n, "-") for n in _names(form)))


def first_of(*groups: Iterable[str]) -> tuple[str, ...]:
    """As many as an error tells, each once: what is known best stands first."""
    return tuple(dict.fromkeys(one for group in groups for one in group))[:MOST]


def typed_and_why(fix: str) -> tuple[str, str]:
    """What is typed, and what stands in parentheses after it."""
    typed, _, why = fix.partition("   (")
    return typed, why.removesuffix(")")


def _facts(known: Known) -> dict[str, str]:
    wait = "a minute" if known.wait is None else f"{max(1, ceil(known.wait)):,} s"
    patience = "" if known.wait is None else f", longest_retry_after={max(1, ceil(known.wait))}"
    return {
        "vendor": known.vendor or "VENDOR",
        "variable": known.variable,
        "before": f"; unset {known.variable}, which comes first" if known.variable else "",
        "wait": wait,
        "patience": f"Runtime(retry=RetryPolicy(max_attempts=8{patience}))   (a script)",
        "tool": known.tool or "TOOL",
        "turns": str(2 * (known.turns or 50)),
        "seconds": f"{2 * (known.seconds or 300):g}",
        "tokens": f"{2 * (known.tokens or 100_000):_}",
        "dollars": f"{2 * (known.dollars or 1):g}",
        "repeats": str(2 * (known.repeats or 5)),
    }


def _names(form: str) -> tuple[str, ...]:
    """What a form cannot do without."""
    return ("variable",) if "{variable}" in form else ()
