"""What every surface says of the passages that an answer rests on: the words, said once."""

import re

from loom_nb.notebook.cited import INVENTED, Evidence, Source
from loom_nb.notebook.render.facts import clipped, one_line
from loom_nb.notebook.transcript import Transcript
from loom_nb.wording import counted

EXCERPT = 300
"""Characters of a passage that are shown."""
_HEADINGS = re.compile(r"\A(?:\s*#{1,6} [^\n]*\n+)+(?=\S)")
"""Those that a passage begins with: they are told above it."""
OTHERS = 12
"""Passages that were not cited and are named."""


def shown(transcript: Transcript) -> "Evidence | None":
    """The evidence of a run whose answer may cite some; None where there is nothing to tell."""
    evidence = transcript.evidence
    if evidence is None:
        return None
    _, invented = evidence.cited(transcript.text)
    return evidence if evidence.sources or invented else None


def title(evidence: Evidence, answer: str) -> str:
    """``Evidence: 2 of 5 passages cited``."""
    told, _ = evidence.cited(answer)
    return f"Evidence: {len(told):,} of {counted(len(evidence.sources), 'passage')} cited"


def warning(evidence: Evidence, answer: str) -> str:
    """``The answer cites [7], which is not in the evidence``; empty where it cites nothing of the kind."""
    _, invented = evidence.cited(answer)
    if not invented:
        return ""
    numbers = ", ".join(f"[{number}]" for number in invented[:20])
    verb = "is" if len(invented) == 1 else "are"
    return f"The answer cites {numbers}, which {verb} {INVENTED}"


def line(source: Source) -> str:
    """``paper.pdf, page 3 · score 0.82``."""
    score = f" · score {source.passage.score:.2f}" if source.passage.score else ""
    return f"{clipped(source.place, 160)}{score}"


def under(source: Source) -> str:
    """The headings under which it stands, in one line; empty where its title says the same."""
    headings = [one for one in source.passage.headings if one != source.passage.title]
    return clipped(" > ".join(headings), 160)


def excerpt(source: Source) -> str:
    """The beginning of its words, in one line; empty where they are not at hand."""
    return clipped(_HEADINGS.sub("", source.excerpt), EXCERPT)


def others(evidence: Evidence, answer: str) -> str:
    """What was found and not cited, in one line; empty for nothing."""
    told, _ = evidence.cited(answer)
    cited = {one.passage.number for one in told}
    rest = [one for one in evidence.sources if one.passage.number not in cited]
    if not rest:
        return ""
    names = "; ".join(f"[{one.passage.number}] {clipped(one.place, 80)}" for one in rest[:OTHERS])
    more = f"; and {len(rest) - OTHERS:,} more" if len(rest) > OTHERS else ""
    return one_line(f"Found and not cited: {names}{more}")
