"""A transcript is a pure fold of events: in order, cheap for deltas, patient with whatever is missing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_nb.events import (
    CallDelta,
    CallFinished,
    CallJudged,
    CallStarted,
    Event,
    LogEntry,
    MessageAdded,
    Noticed,
    ResultKept,
    RetryScheduled,
    RunFinished,
    RunInterrupted,
    RunStarted,
    SessionOpened,
    TextDelta,
    ThinkingDelta,
    TurnFinished,
    TurnStarted,
)
from loom_nb.messages import (
    DataPart,
    Message,
    Origin,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
    user,
)
from loom_nb.notebook.transcript import (
    Card,
    Chain,
    Notice,
    Prompt,
    Retry,
    Text,
    Thinking,
    Transcript,
    Words,
    fold,
)
from tests import cost

TEXTS = st.text(alphabet="ab \n*`é😀", min_size=1, max_size=12)


def says(text: str, *calls: ToolCallPart, thinking: str = "", partial: bool = False) -> MessageAdded:
    first = (ThinkingPart(thinking),) if thinking else ()
    words = (TextPart(text),) if text else ()
    return MessageAdded(Message("assistant", (*first, *words, *calls), partial))


def result(call_id: str, text: str = "fine", *, name: str = "look", is_error: bool = False) -> ToolResultPart:
    return ToolResultPart(call_id, name, (TextPart(text),), is_error)


def kinds(transcript: Transcript) -> list[str]:
    return [type(block).__name__ for block in transcript.blocks]


A_RUN: list[Event] = [
    SessionOpened(),
    RunStarted("offline:demo", "look at df"),
    MessageAdded(user("look at df", DataPart("df", "x" * 40, Origin("notebook", "df"), "DataFrame 2 x 2"))),
    TurnStarted(1),
    says("I look.", ToolCallPart("c1", "look", '{"name": "df"}'), thinking="hm"),
    TurnFinished(1, Usage(10, 5), "tool_calls", "demo-1"),
    CallJudged("c1", "look", "allow"),
    CallStarted("c1", "look", {"name": "df"}, ("reads",)),
    CallFinished(result("c1"), "ok", 0.5, 30_000),
    ResultKept("c1", "fine and much more"),
    MessageAdded(Message("tool", (result("c1"),))),
    Noticed("shortened", "warning"),
    TurnStarted(2),
    RetryScheduled(1, 2.0, "overloaded", "529"),
    says("It is a frame."),
    TurnFinished(2, Usage(20, 7), "end", "demo-1"),
    RunFinished("completed", "It is a frame.", usage=Usage(30, 12), cost=0.0, turns=2, seconds=1.5),
]


def test_a_run_is_told_in_the_order_in_which_it_happened():
    transcript = Transcript.of(A_RUN)

    assert kinds(transcript) == ["Prompt", "Thinking", "Words", "Card", "Notice", "Retry", "Words"]
    assert transcript.status == "completed"
    assert (transcript.usage, transcript.turns, transcript.cost) == (Usage(30, 12), 2, 0.0)
    assert transcript.answered == "demo-1"
    assert transcript.text == "I look.\n\nIt is a frame."


def test_a_card_gathers_all_that_is_known_of_its_call():
    (card,) = Transcript.of(A_RUN).cards

    assert (card.name, card.passed, card.effects, card.decision) == (
        "look",
        {"name": "df"},
        ("reads",),
        "allow",
    )
    assert (card.outcome, card.result, card.seconds, card.chars) == ("ok", "fine", 0.5, 30_000)


def test_the_prompt_tells_what_was_used_and_how_big_it_is():
    prompt = Transcript.of(A_RUN).prompt

    assert prompt is not None and prompt.first
    (used,) = prompt.used
    assert (used.name, used.summary, used.tokens, used.origin) == ("df", "DataFrame 2 x 2", 10, "notebook:df")


def test_log_entries_tell_the_run_they_belong_to():
    entries = [LogEntry("s", n, "r7", 0.0, event) for n, event in enumerate(A_RUN, 1)]

    assert Transcript.of(entries).run == "r7"
    assert Transcript.of(A_RUN, run="r8").run == "r8"


def test_deltas_and_kept_events_end_in_the_same_transcript():
    streamed = [
        *A_RUN[:4],
        ThinkingDelta("h"),
        ThinkingDelta("m"),
        TextDelta("I "),
        TextDelta("look."),
        CallDelta("c1", "look", '{"name":'),
        CallDelta("c1", "", ' "df"}'),
        *A_RUN[4:],
    ]

    assert Transcript.of(streamed) == Transcript.of(A_RUN)


@pytest.mark.parametrize("index", range(len(A_RUN)), ids=lambda index: A_RUN[index].type)
def test_an_event_that_comes_twice_changes_nothing(index):
    once = Transcript.of(A_RUN[: index + 1])

    assert fold(once, A_RUN[index]) == once


@settings(deadline=None)
@given(st.lists(st.sampled_from(A_RUN), max_size=25))
def test_any_subset_in_any_order_is_folded_without_an_error(events):
    transcript = Transcript.of(events)

    assert sum(isinstance(block, Prompt) and block.first for block in transcript.blocks) <= 1
    assert transcript.usage.total_tokens <= 42


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=20), st.lists(TEXTS, max_size=5))
def test_streamed_text_is_the_text_of_its_deltas_and_older_values_stay_as_they_were(chunks, others):
    before = Transcript.of(A_RUN[:4])
    values = [before]
    for chunk in chunks:
        values.append(fold(values[-1], TextDelta(chunk)))

    branch = values[len(values) // 2]
    for chunk in others:
        branch = fold(branch, TextDelta(chunk))

    for count, value in enumerate(values):
        assert value.text == "".join(chunks[:count])
    assert branch.text == "".join([*chunks[: len(values) // 2], *others])


def test_the_message_wins_over_what_was_streamed():
    events = [*A_RUN[:4], TextDelta("I guess"), says("I know.")]
    transcript = Transcript.of(events)

    assert transcript.text == "I know."
    assert transcript.revision > Transcript.of(events[:-1]).revision


def test_what_a_failed_attempt_had_streamed_is_void():
    transcript = Transcript.of(
        [*A_RUN[:4], TextDelta("It is"), RetryScheduled(1, 1.0, "connection", "reset")]
    )

    assert kinds(transcript) == ["Prompt", "Retry"]


def test_a_notice_in_the_middle_of_an_answer_stays_where_it_came():
    events = [*A_RUN[:4], TextDelta("one "), Noticed("careful"), TextDelta("two")]

    assert kinds(Transcript.of(events))[1:] == ["Words", "Notice", "Words"]


def test_a_cut_message_says_so_at_its_last_words():
    transcript = Transcript.of([*A_RUN[:4], TextDelta("half"), says("half", partial=True)])

    assert [block.partial for block in transcript.blocks if isinstance(block, Words)] == [True]


def test_ids_that_a_vendor_uses_again_in_the_next_turn_are_two_calls():
    call = ToolCallPart("call_0", "look", "{}")
    transcript = Transcript.of(
        [
            *A_RUN[:4],
            says("", call),
            CallFinished(result("call_0", "first")),
            TurnStarted(2),
            says("", call),
            CallFinished(result("call_0", "second")),
        ]
    )

    assert [card.result for card in transcript.cards] == ["first", "second"]


def test_two_calls_with_one_id_in_one_message_each_get_their_result():
    call = ToolCallPart("x", "look", "{}")
    events = [
        *A_RUN[:4],
        says("", call, call),
        CallFinished(result("x", "a")),
        CallFinished(result("x", "b")),
    ]

    assert [card.result for card in Transcript.of(events).cards] == ["a", "b"]


def test_results_of_parallel_calls_find_their_cards_in_the_order_of_the_calls():
    calls = [ToolCallPart(f"c{n}", f"tool{n}", "{}") for n in range(3)]
    done = [CallFinished(result(f"c{n}", f"r{n}", name=f"tool{n}")) for n in (2, 0, 1)]

    transcript = Transcript.of([*A_RUN[:4], says("", *calls), *done])

    assert [(card.name, card.result) for card in transcript.cards] == [
        ("tool0", "r0"),
        ("tool1", "r1"),
        ("tool2", "r2"),
    ]


def test_a_result_without_its_event_is_taken_from_the_message():
    events = [*A_RUN[:5], MessageAdded(Message("tool", (result("c1", "broken", is_error=True),)))]
    (card,) = Transcript.of(events).cards

    assert (card.outcome, card.result) == ("error", "broken")


def test_a_late_result_reaches_the_card_of_an_earlier_turn():
    transcript = Transcript.of([*A_RUN[:5], TurnStarted(2), CallFinished(result("c1", "late"))])

    assert [card.result for card in transcript.cards] == ["late"]


def test_arguments_that_are_no_object_are_kept_as_they_were_written():
    (card,) = Transcript.of([*A_RUN[:4], says("", ToolCallPart("c", "look", '{"a": '))]).cards

    assert card.passed is None and str(card.arguments) == '{"a": '
    assert card.sha256 != Card("c", "look").sha256


def test_equal_arguments_have_one_hash_however_they_are_written():
    one = Card("c", "t", Text.of('{"a": 1, "b": 2}'))
    other = Card("d", "t", values={"b": 2, "a": 1})

    assert one.sha256 == other.sha256


def test_only_the_end_of_a_run_is_enough_for_its_answer():
    transcript = Transcript.of([RunFinished("completed", "42", usage=Usage(1, 1), turns=1)])

    assert (transcript.text, transcript.status, transcript.turns) == ("42", "completed", 1)


def test_a_log_of_several_runs_is_told_as_its_last():
    transcript = Transcript.of([*A_RUN, RunStarted("offline", "again"), MessageAdded(user("again"))])

    assert kinds(transcript) == ["Prompt"]
    assert transcript.goal == "again" and transcript.status == "running"


def test_what_the_user_says_during_a_run_is_a_block_of_its_own():
    transcript = Transcript.of([*A_RUN[:12], MessageAdded(user("and the index?"))])

    assert [block.first for block in transcript.blocks if isinstance(block, Prompt)] == [True, False]


def test_an_interrupted_run_says_so():
    transcript = Transcript.of([*A_RUN[:6], RunInterrupted()])

    assert transcript.status == "interrupted" and transcript.finished


def test_chains_share_their_items_and_never_each_others_ends():
    start = Chain([1, 2])
    one, other = start.add(3), start.add(4)

    assert (list(start), list(one), list(other)) == ([1, 2], [1, 2, 3], [1, 2, 4])
    assert one.since(2) == [3] and len(other) == 3
    assert Chain() == Chain([]) and Text(["a", "b"]) == Text(["ab"])


def test_a_delta_costs_the_same_at_the_end_as_at_the_beginning():
    transcript = Transcript.of(A_RUN[:12])

    def one() -> None:
        nonlocal transcript
        transcript = fold(transcript, TextDelta("some words "))

    def costs() -> list[float]:
        return [cost.each(200, one, cost.calls), cost.each(200, one, cost.taken)]

    early = costs()
    for _ in range(20_000):
        one()
    late = costs()

    assert late[0] == early[0]
    assert late[1] < early[1] + 1_000  # a copy of what was said would take a hundred thousand bytes


def test_blocks_of_every_kind_are_closed_when_the_run_is_over():
    transcript = Transcript.of([*A_RUN[:4], ThinkingDelta("hm"), TextDelta("a"), RunFinished("stopped")])

    assert all(block.closed for block in transcript.blocks)
    assert {type(block) for block in transcript.blocks} <= {Prompt, Thinking, Words, Notice, Retry}


@pytest.mark.parametrize(
    "kept", [["not found: dff", "left out f"], [1, "not found: dff", None, "left out f"]]
)
def test_what_a_cell_wants_told_stands_right_after_its_prompt(kept):
    transcript = Transcript.of([RunStarted("m", "go", {"notices": kept}), MessageAdded(user("go"))])
    assert transcript.blocks == (Prompt("go"), Notice("not found: dff"), Notice("left out f"))
    assert transcript.revision == 0
    assert Transcript.of([RunStarted("m", "go", {"notices": kept})]).blocks == ()


@pytest.mark.parametrize("kept", ["text", 7, {"a": 1}, None])
def test_metadata_of_somebody_else_is_no_notice(kept):
    transcript = Transcript.of([RunStarted("m", "go", {"notices": kept}), MessageAdded(user("go"))])
    assert transcript.blocks == (Prompt("go"),)


def test_a_remark_of_whoever_draws_it_comes_first():
    started = RunStarted("m", "go", {"notices": ["left out f"]})
    transcript = Transcript.of([started, MessageAdded(user("go"))], remarks=("of another conversation",))
    assert [block.text for block in transcript.blocks[1:]] == ["of another conversation", "left out f"]
