"""A transcript as the MIME bundle of one display: five surfaces with the same facts.

Without `times` there is nothing in it that differs when the same run is made again: no ids, no
clocks, no durations. So a saved notebook can be compared with a new one.
"""

from typing import Any

import msgspec

from loom_nb.notebook.cited import Evidence
from loom_nb.notebook.render.live import Look, document
from loom_nb.notebook.render.llm import llm
from loom_nb.notebook.render.markdown import markdown
from loom_nb.notebook.transcript import Asked, Card, Compacted, Product, Transcript, Variables

RECORD_TYPE = "application/vnd.loom.run.v1+json"
RECORD_SCHEMA = 1


def bundle(
    transcript: Transcript,
    *,
    times: bool = False,
    ascii: bool = False,  # noqa: A002  the name of the option
    prompt: bool = False,
) -> dict[str, Any]:
    """All five surfaces by their MIME types.

    Args:
        transcript: of a run that has ended or still goes on.
        times: also what differs from run to run: durations and ids.
        ascii: plain text without a mark that is not ASCII.
        prompt: show the first prompt too; in a cell it stands above.
    """
    look = Look(times, ascii, prompt)
    markup, plain = document(transcript, look)
    return {
        "text/plain": plain,
        "text/markdown": markdown(transcript, times=times, prompt=prompt),
        "text/html": markup,
        "text/llm+plain": llm(transcript),
        RECORD_TYPE: record(transcript, times=times),
    }


def metadata(transcript: Transcript) -> dict[str, Any]:
    """What the file says about the output: that a model wrote it, which one, in which run."""
    facts: dict[str, Any] = {
        "run": transcript.run,
        "model": transcript.model or transcript.answered,
        "status": transcript.status,
        "ai_generated": True,
        "demo": transcript.demo,
    }
    return {"loom": {key: value for key, value in facts.items() if value not in ("", False)}}


def record(transcript: Transcript, *, times: bool = False) -> dict[str, Any]:
    """The run for programs. Arguments are told by their hash, so that a record can be passed on."""
    usage = transcript.usage
    facts: dict[str, Any] = {
        "schema": RECORD_SCHEMA,
        "status": transcript.status,
        "reason": transcript.reason,
        "fault": transcript.fault,
        "model": transcript.model or transcript.answered,
        "ai_generated": True,
        "turns": transcript.turns,
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
        },
        "cost": transcript.cost,
        **_played(transcript),
        "calls": [_call(card, times=times) for card in transcript.cards],
        "text": transcript.text,
    }
    if transcript.mode:
        facts["mode"] = transcript.mode
    if transcript.plan:
        facts["plan"] = [{"text": item.text, "status": item.status} for item in transcript.plan]
    asked = [_question(block) for block in transcript.blocks if isinstance(block, Asked)]
    if asked:
        facts["questions"] = asked
    changed = [_variables(block) for block in transcript.blocks if isinstance(block, Variables)]
    if changed:
        facts["variables"] = changed
    if transcript.budget:
        facts["context"] = {"tokens": transcript.context, "budget": transcript.budget}
    compacted = [_compaction(block) for block in transcript.blocks if isinstance(block, Compacted)]
    if compacted:
        facts["compactions"] = compacted
    if transcript.evidence is not None:
        facts["evidence"] = _evidence(transcript, transcript.evidence)
    made = [_product(block) for block in transcript.blocks if isinstance(block, Product)]
    if made:
        facts["artifacts"] = made
    if times:
        facts |= {"run": transcript.run, "seconds": transcript.seconds}
    return facts


def _played(transcript: Transcript) -> dict[str, Any]:
    """What of it came from a recording, where anything did."""
    return {"played": msgspec.to_builtins(transcript.played)} if transcript.played.calls else {}


def _call(card: Card, *, times: bool) -> dict[str, Any]:
    call: dict[str, Any] = {
        "name": card.name,
        "arguments_sha256": card.sha256,
        "effects": list(card.effects),
        "decision": card.decision,
        "outcome": card.outcome,
        "chars": card.chars or len(card.result),
    }
    if card.asked:
        call["approvals"] = [_approval(asked) for asked in card.asked]
    if times:
        call |= {"id": card.call_id, "seconds": card.seconds}
    return call


def _approval(asked: Asked) -> dict[str, Any]:
    """What was decided on a call; told by hashes, and without what the person wrote."""
    decision, approval = asked.decision, asked.question.approval
    told: dict[str, Any] = {
        "question": asked.question.id,
        "how": asked.how or "waiting",
        "decision": decision.decision if decision is not None else "",
        "scope": decision.scope if decision is not None and decision.decision == "allow" else "",
        "by": asked.by,
        "edited": list(asked.edited),
        "arguments_sha256": asked.sha256,
    }
    if approval is not None:
        told |= {"mode": approval.mode, "sandbox": approval.sandbox, "origins": sorted(approval.origins)}
    return told


def _question(asked: Asked) -> dict[str, Any]:
    """That something was asked and answered, without the answer."""
    question = asked.question
    return {"question": question.id, "kind": question.kind, "how": asked.how or "waiting", "by": asked.by}


def _compaction(shown: Compacted) -> dict[str, Any]:
    """What was shortened, without its words."""
    return {
        "id": shown.id,
        "strategy": shown.strategy,
        "reason": shown.reason,
        "tokens_before": shown.before,
        "tokens_after": shown.after,
        "items": [item.item for item in shown.items],
        "handoff": bool(shown.handoff),
    } | (
        {"usage": {"input_tokens": shown.usage.input_tokens, "output_tokens": shown.usage.output_tokens}}
        if shown.usage.total_tokens
        else {}
    )


def _evidence(transcript: Transcript, evidence: Evidence) -> dict[str, Any]:
    """What was found and cited, without its words."""
    told, invented = evidence.cited(transcript.text)
    cited = {one.passage.number for one in told}
    passages = [
        {
            "number": one.passage.number,
            "id": one.passage.id,
            "title": one.passage.title,
            "location": one.passage.location,
            "source": one.passage.source,
            "score": one.passage.score,
            "cited": one.passage.number in cited,
        }
        for one in evidence.sources
    ]
    return {"passages": passages, "invented": invented}


def _product(shown: Product) -> dict[str, Any]:
    """What it is, without its content."""
    told: dict[str, Any] = {
        "name": shown.name,
        "version": shown.version,
        "kind": shown.kind,
        "media_type": shown.media_type,
        "summary": shown.summary,
        "size": shown.size,
        "sha256": shown.sha256,
    }
    if shown.table is not None:
        told |= {"rows": shown.table.of_rows, "columns": shown.table.of_columns}
    return told


def _variables(shown: Variables) -> dict[str, Any]:
    return {
        "changes": [{"name": one.name, "change": one.change} for one in shown.changes],
        "rolled_back": shown.rolled_back or shown.undone,
        "cannot_restore": list(shown.cannot_restore),
    }
