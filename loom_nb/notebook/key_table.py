"""The tables of `%loom key` and `%loom key log`: secrets and what became of them, and what can be done.

Rows hold facts alone; no value of a secret is in any of them, nor in a message to a page. The actions are
those of the lines `%loom key policy`, `grant` and `rm`: the same functions carry them out.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loom_nb.credentials.policies import CredentialPolicy, SecretFacts
from loom_nb.credentials.uses import AuditRow
from loom_nb.errors import LoomUsageError
from loom_nb.notebook import key_cards as cards
from loom_nb.notebook import key_line as lines
from loom_nb.notebook.table import Action, Column, Contents, Details, Receipt, Row
from loom_nb.runtime.threads import in_thread
from loom_nb.wording import counted, moment

if TYPE_CHECKING:
    from loom_nb.notebook.workbench import Workbench

LOOKED_AT = 1_000
"""Rows of the audit, newest first, that are looked through."""
COLUMNS = (
    Column("name", "name", 8),
    Column("type", "type", 9.3, choose=True),
    Column("bound", "bound to"),
    Column("policy", "policy", 11.8, choose=True),
    Column("who", "who may use it"),
    Column("version", "version", 4.8, number=True),
    Column("used", "last used", 5.6, number=True),
)
POLICIES = (
    ("notify_before", "ask me before each use"),
    ("autonomous", "use without asking"),
    ("notify_after", "use, and tell me"),
    ("one_shot:1", "one more use"),
    ("one_shot:5", "five more uses"),
    ("time_boxed:now..+1h", "for an hour"),
    ("time_boxed:now..+8h", "for eight hours"),
)
"""What the table offers; `%loom key policy` takes any other number or window."""
ACTIONS = (
    Action(
        "policy", "Policy", "when it may be used", "p", asks="Policy of", initial="policy", choices=POLICIES
    ),
    Action("here", "Only here", "grants it to this notebook; no other may use it then", "g"),
    Action("not_here", "Not here", "takes it from this notebook", "g"),
    Action(
        "rm", "Forget …", "its value is gone then; there is no undo", "x", asks="Type yes to forget for good"
    ),
)
LOG = (
    Column("when", "when", 7.5, number=True),
    Column("secret", "secret", 8.5, choose=True),
    Column("who", "who", 8.5, choose=True),
    Column("what", "what for"),
    Column("outcome", "outcome", 6.5, choose=True),
    Column("why", "why"),
)


def row_of(facts: SecretFacts, used: AuditRow | None, notebook: str, now: float) -> Row:
    """A secret under COLUMNS."""
    here = f"notebook:{notebook}"
    can = {"policy", "rm"}
    if notebook:
        can.add("not_here" if here in facts.grants else "here")
    over = facts.policy.mode == "one_shot" and not facts.policy.uses
    end = facts.policy.end
    over = over or (facts.policy.mode == "time_boxed" and end is not None and end <= now)
    return Row(
        facts.scope,
        cards.cells_of(facts, used, now),
        {5: facts.version, 6: used.moment if used else 0.0},
        frozenset(can),
        quiet=over or not facts.binding.hosts,
    )


def told_of(bench: "Workbench", *, any_kept: bool) -> tuple[tuple[str, str], ...]:
    """Where the secrets are opened and by what, where there is something to say."""
    from loom_nb.notebook.key_places import opened_by

    tier, way = bench.secrets.tier, opened_by(bench.settings.home)
    told = [("opened by", way)] if way and any_kept else []
    if tier != "broker process":
        told.append(("⚠ no broker process", f"they are opened in {tier}, where other code can reach them"))
    return tuple(told)


@dataclass(frozen=True, slots=True)
class KeyRows:
    """The secrets that are kept, as a `Source`.

    Args:
        bench: whose they are.
        ended: what has ended with its notebook, to be told once.
    """

    bench: "Workbench"
    ended: tuple[str, ...] = ()

    def state(self) -> Hashable:
        """Differs when a secret or the audit does."""
        rows = self.bench.secrets.log(limit=1)
        return self.bench.secrets.list(), rows[0].seq if rows else 0

    async def contents(self) -> Contents:
        """What is kept now."""
        kept, rows = await in_thread(self._look)
        used, now = cards.last_used(rows), time.time()
        told = (*told_of(self.bench, any_kept=bool(kept)), *(("ended", words) for words in self.ended))
        card = cards.list_card(kept, used, now, facts=told)
        return Contents(
            card=card,
            title=card.title,
            caption="by name; values are never shown",
            columns=COLUMNS,
            rows=tuple(row_of(one, used.get(one.scope), self.bench.notebook, now) for one in kept),
            noun=("secret", "secrets"),
            facts=card.facts,
            actions=ACTIONS,
        )

    def _look(self) -> tuple[tuple[SecretFacts, ...], tuple[AuditRow, ...]]:
        return self.bench.secrets.list(), self.bench.secrets.log(limit=LOOKED_AT)

    async def details(self, row: str) -> Details:
        """A secret with what it was used for."""
        facts = await in_thread(self.bench.secrets.facts, scope=row)
        rows = cards.newest_first(await in_thread(self.bench.secrets.log, scope=row, limit=100))
        now = time.time()
        told = cards.facts_of(facts, cards.last_used(rows).get(row), now)
        text = cards.log_text(rows, now) or "nothing yet"
        return Details(told, (("what became of it, the newest first", text),))

    async def act(self, action: str, rows: Sequence[str], text: str) -> Receipt:
        """Give secrets another policy, grant them here or not, or forget them."""
        if action == "rm":
            return await self._forgotten(rows, text)
        if action == "policy":
            return await self._ruled(rows, lines.policy_of(text, lines.here_and_now()))
        here = (f"notebook:{self.bench.notebook}",)
        change = lines.granted if action == "here" else lines.revoked
        words = "granted to this notebook" if action == "here" else "taken from this notebook"
        return await self._granted(rows, lambda before: change(before, here), words)

    async def _forgotten(self, rows: Sequence[str], text: str) -> Receipt:
        if text.strip().casefold() != "yes":
            raise LoomUsageError("nothing was forgotten: type yes to forget for good")
        gone = [one for one in rows if await in_thread(self.bench.secrets.revoke, scope=one)]
        return Receipt(
            f"{' and '.join(gone) if len(gone) < 4 else counted(len(gone), 'secret')} forgotten for good"
        )

    async def _ruled(self, rows: Sequence[str], policy: CredentialPolicy) -> Receipt:
        before = {one: (await in_thread(self.bench.secrets.facts, scope=one)).policy for one in rows}
        for one in rows:
            await in_thread(self.bench.secrets.change, scope=one, policy=policy)
        words = f"{_named(rows)}: {cards.policy_words(policy, time.time())}"

        async def back() -> Receipt:
            for one, old in before.items():
                await self._refuse_changed(one, policy == (await self._facts(one)).policy)
                await in_thread(self.bench.secrets.change, scope=one, policy=old)
            return Receipt(f"taken back: {_named(rows)} as before")

        return Receipt(words, (), back)

    async def _granted(
        self, rows: Sequence[str], change: Callable[[Sequence[str]], tuple[str, ...]], words: str
    ) -> Receipt:
        before = {one: (await self._facts(one)).grants for one in rows}
        for one, old in before.items():
            await in_thread(self.bench.secrets.change, scope=one, grants=change(old))

        async def back() -> Receipt:
            for one, old in before.items():
                await self._refuse_changed(one, (await self._facts(one)).grants == change(old))
                await in_thread(self.bench.secrets.change, scope=one, grants=old)
            return Receipt(f"taken back: {_named(rows)} as before")

        return Receipt(f"{_named(rows)} {words}", (), back)

    async def _facts(self, name: str) -> SecretFacts:
        facts: SecretFacts = await in_thread(self.bench.secrets.facts, scope=name)
        return facts

    @staticmethod
    async def _refuse_changed(name: str, same: bool) -> None:
        if not same:
            raise LoomUsageError(f"{name} was changed otherwise since", fixes=[f"%loom key show {name}"])


def _named(rows: Sequence[str]) -> str:
    return ", ".join(rows) if len(rows) < 4 else counted(len(rows), "secret")


@dataclass(frozen=True, slots=True)
class LogRows:
    """The audit, as a `Source`.

    Args:
        bench: whose secrets they are.
        name: of one secret; empty for all.
        refused: only what was refused or asked.
    """

    bench: "Workbench"
    name: str = ""
    refused: bool = False

    def state(self) -> Hashable:
        """Differs when there is another row."""
        rows = self.bench.secrets.log(scope=self.name, limit=1)
        return rows[0].seq if rows else 0

    async def contents(self) -> Contents:
        """The newest rows, newest first."""
        rows = cards.newest_first(await in_thread(self.bench.secrets.log, scope=self.name, limit=LOOKED_AT))
        if self.refused:
            rows = [one for one in rows if one.kind in ("refused", "asked")]
        now = time.time()
        card = cards.log_card(rows, now, self.name)
        return Contents(
            card=card,
            title=card.title,
            caption="the newest first",
            columns=LOG,
            rows=tuple(Row(str(one.seq), cards.log_cells(one, now), {0: one.moment}) for one in rows),
            noun=("row", "rows"),
        )

    async def details(self, row: str) -> Details:
        """All that a row says."""
        rows = await in_thread(self.bench.secrets.log, scope=self.name, limit=LOOKED_AT)
        found = next((one for one in rows if str(one.seq) == row), None)
        if found is None:
            raise LoomUsageError("this row is not among the newest any more", fixes=["%loom key log"])
        use = found.use
        told = [
            ("row", str(found.seq)), ("when", moment(found.moment)), ("outcome", cards.outcome(found)),
            ("secret", f"{use.scope}, version {found.version}" if found.version else use.scope),
            ("policy then", found.mode), ("who", cards.who_words(use.who)), ("notebook", use.notebook),
            ("run", "/".join(part for part in (use.session, use.run, use.call) if part)),
            ("what for", cards.for_words(use)), ("approved by", use.approved),
            ("why", cards.reason_words(found, time.time())), ("why it was wanted", use.why),
        ]  # fmt: skip
        return Details(tuple((name, words) for name, words in told if words))

    async def act(self, action: str, rows: Sequence[str], text: str) -> Receipt:
        """Nothing can be done to what has happened."""
        raise LoomUsageError("the audit is not changed")
