"""What opens the secrets: `%loom key lock`, `unlock` and `rekey`, and the question for a passphrase."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loom_nb.errors import AnswerRefused, KeyLocked, LoomUsageError, NobodyToAsk, SecretsLocked
from loom_nb.notebook.card import Card
from loom_nb.notebook.key_line import KeyLine
from loom_nb.notebook.key_places import WAYS, way_of
from loom_nb.questions import Question
from loom_nb.runtime.threads import in_thread
from loom_nb.wording import counted

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

SHORTEST = 8
"""Characters of a passphrase."""


async def under_key(bench: "Workbench", asked_by: str, act: Callable[[], Any]) -> Any:
    """Do what needs the master key; where a passphrase opens it, that is asked for, hidden.

    Args:
        bench: whose secrets they are.
        asked_by: the line, as it is typed.
        act: what is done; may be called twice.

    Raises:
        KeyLocked: nobody is there to type the passphrase.
        SecretsLocked: the passphrase is another, or the master key is missing.
    """
    try:
        return await in_thread(act)
    except SecretsLocked as error:
        if way_of(bench.settings.home) != "passphrase":
            raise
        locked = error
    question = Question(
        asked_by, "secret", "The passphrase of your secrets", asked_by=asked_by,
        text="It opens them for this kernel until %loom key lock, and is kept nowhere.",
    )  # fmt: skip
    try:
        words = await bench.ask(question, str, ("%loom key unlock   (in a notebook that somebody looks at)",))
    except NobodyToAsk as nobody:
        raise KeyLocked(locked.title, cause=nobody.cause, fixes=nobody.fixes) from None
    await in_thread(bench.secrets.unlock, passphrase=words)
    return await in_thread(act)


async def lock(bench: "Workbench", line: KeyLine) -> Card:
    """Take the keys out of memory; only where a passphrase opens them does that keep anybody out."""
    takes_nothing(line)
    await in_thread(bench.secrets.lock)
    way = way_of(bench.settings.home)
    if way == "passphrase":
        return Card(
            "the secrets are locked: nothing uses one",
            steps=(
                ("%loom key unlock", "asks for the passphrase"),
                ("%loom key", "names and facts stay readable"),
            ),
        )
    return Card(
        "the keys of the secrets are out of memory",
        (("the next use", f"takes them again from {WAYS.get(way, 'where they lie')}, and asks nobody"),),
        steps=(("%loom key unlock --passphrase", "before the first secret: words of yours open them then"),),
    )


async def unlock(bench: "Workbench", line: KeyLine) -> Card:
    """Come by the keys; with `--passphrase`, before anything is kept, choose the words that open them."""
    takes_nothing(line)
    way = way_of(bench.settings.home)
    if "--passphrase" in line.flags and not way:
        words = await bench.ask(
            _new_passphrase(), _same_twice, ("%loom key unlock   (in a notebook that somebody looks at)",)
        )
        await in_thread(bench.secrets.unlock, passphrase=words)
        return Card(
            "your passphrase opens the secrets from now on",
            (("if it is lost", "nobody can read them: it is kept nowhere"),),
            steps=(("%loom key set NAME", "keeps one"), ("%loom key lock", "closes them")),
        )
    if "--passphrase" in line.flags and way != "passphrase":
        raise LoomUsageError(f"the secrets are opened by {WAYS.get(way, way)}, not by a passphrase")
    await under_key(bench, "%loom key unlock", bench.secrets.unlock)
    return Card(
        "the secrets are open", steps=(("%loom key", "what is kept"), ("%loom key lock", "closes them"))
    )


async def rekey(bench: "Workbench", line: KeyLine) -> Card:
    """Seal every secret anew with a fresh key."""
    takes_nothing(line)
    count = await under_key(bench, "%loom key rekey", bench.secrets.rekey)
    return Card(
        f"{counted(count, 'secret')} sealed anew with a fresh key",
        (("before", "what was sealed with the old key opens with it no more"),),
        steps=(("%loom key log", "every use and change"),),
    )


def takes_nothing(line: KeyLine) -> None:
    """Raises LoomUsageError where a word stands behind the verb."""
    if line.names:
        raise LoomUsageError(f"%loom key {line.verb} takes nothing more", fixes=[f"%loom key {line.verb}"])


def _new_passphrase() -> Question:
    field = {"type": "string", "writeOnly": True}
    schema = {
        "type": "object",
        "required": ["passphrase", "again"],
        "properties": {
            "passphrase": {**field, "description": f"{SHORTEST} characters or more."},
            "again": {**field, "description": "The same once more. Without it nobody can open them."},
        },
    }
    asked_by = "%loom key unlock --passphrase"
    return Question(asked_by, "form", "A passphrase for your secrets", schema=schema, asked_by=asked_by)


def _same_twice(answer: Any) -> str:
    if len(answer["passphrase"]) < SHORTEST:
        raise AnswerRefused("no passphrase", cause=f"passphrase: {SHORTEST} characters or more")
    if answer["passphrase"] != answer["again"]:
        raise AnswerRefused("no passphrase", cause="again: the two are not the same")
    return str(answer["passphrase"])
