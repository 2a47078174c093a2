"""What capabilities add when a run begins: data behind the task, kept, previewed to the byte, never in the way."""

import asyncio
from dataclasses import dataclass, field

import pytest

from loom_nb import Agent, Model
from loom_nb.errors import ToolError
from loom_nb.events import MessageAdded, Noticed, RunStarted
from loom_nb.inputs import SessionConfig
from loom_nb.messages import DataPart, Origin
from loom_nb.protocols import Enquiry, Enrichment, Toolset
from loom_nb.stores.memory import MemoryStore

NOTE = DataPart("note:a1", "The office closes at six.", Origin("memory", "a1"))


@dataclass
class Knows:
    """A capability that adds a note, once in a conversation."""

    parts: tuple[DataPart, ...] = (NOTE,)
    fails: BaseException | None = None
    name: str = "notes"
    asked: list[Enquiry] = field(default_factory=list)

    async def open(self):
        return Toolset(enrich=self.enrich)

    async def enrich(self, enquiry):
        self.asked.append(enquiry)
        if self.fails is not None:
            raise self.fails
        parts = tuple(part for part in self.parts if part.name not in enquiry.seen)
        return Enrichment(parts, (Noticed("looked"),)) if parts else None


def agent(knows, *replies, store=None):
    return Agent(Model.scripted(list(replies)), capabilities=[knows], session_store=store or MemoryStore())


async def test_a_note_stands_behind_the_task_as_data_and_is_in_the_log():
    knows = Knows()
    result = await agent(knows, "done").run("when does it close?")
    assert [one.parts for one in result.messages[:2]][1] == (NOTE,)
    assert result.messages[1].role == "user"
    kinds = [type(entry.event) for entry in result.events]
    assert kinds.index(RunStarted) < kinds.index(Noticed) < kinds.index(MessageAdded, kinds.index(Noticed))
    (asked,) = knows.asked
    assert (asked.text, asked.run, asked.preview) == ("when does it close?", "r1", False)


async def test_what_is_shown_already_is_named_and_not_repeated():
    knows = Knows()
    async with agent(knows, "one", "two").session() as session:
        await session.run("first")
        await session.run("second")
        said = [entry.event.message for entry in session.events() if isinstance(entry.event, MessageAdded)]
    assert knows.asked[1].seen == {"note:a1"}
    assert sum(NOTE in message.parts for message in said) == 1


async def test_what_a_person_hid_is_not_brought_back_by_the_next_run():
    knows = Knows()
    async with agent(knows, "one", "two").session() as session:
        await session.run("first")
        await session.mark(1, "hidden")
        _, body = await session.preview("second")
        await session.run("second")
    assert knows.asked[-1].seen == {"note:a1"}
    assert b"The office closes" not in body


async def test_a_preview_is_to_the_byte_what_is_sent_and_says_that_it_is_one():
    knows = Knows()
    async with agent(knows, "done").session() as session:
        request, body = await session.preview("when?")
        ledger = await session.ledger("when?")
        assert [one.preview for one in knows.asked] == [True, True]
        result = await session.run("when?")
    assert list(request.conversation) == result.messages[:2]
    assert b"The office closes at six." in body
    assert "The office" not in request.system
    item = next(one for one in ledger.items if "note:a1" in one.words)
    assert (item.section, item.origin, item.why) == ("memory", "memory:a1", "a note that fits the prompt")
    assert ledger.tokens == request.tokens


@pytest.mark.parametrize(
    ("error", "told"),
    [(ToolError("the disk is gone"), "the disk is gone"), (RuntimeError("x"), "RuntimeError")],
)
async def test_what_fails_is_told_and_the_run_goes_on(error, told):
    result = await agent(Knows(fails=error), "done").run("go")
    assert result.status == "completed"
    notices = [entry.event for entry in result.events if isinstance(entry.event, Noticed)]
    assert [(one.text, one.level) for one in notices] == [
        (f"Nothing was added from notes: {told}", "warning")
    ]


async def test_a_run_that_is_stopped_meanwhile_ends_as_stopped():
    begun = asyncio.Event()

    class Slow(Knows):
        async def enrich(self, enquiry):
            begun.set()
            await asyncio.Event().wait()

    async with agent(Slow(), "done").session() as session:
        run = session.start("go")
        await begun.wait()
        run.stop()
        result = await run
        again = session.start("go")
        again.stop()
        await again.wait()
    assert result.status == "stopped"


async def test_a_conversation_that_is_opened_again_knows_what_it_was_shown():
    store, knows = MemoryStore(), Knows()
    async with agent(knows, "one", store=store).session(SessionConfig("s")) as session:
        await session.run("first")
    async with agent(knows, "two", store=store).session(SessionConfig("s")) as session:
        await session.run("second")
    assert knows.asked[1].seen == {"note:a1"}
