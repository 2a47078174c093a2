"""Heads: what stood before the conversation in each request, noted in the log whenever it changed."""

from loom_nb.events import HeadChanged
from loom_nb.runtime.ledger import head_of
from loom_nb.runtime.stage import Stage


def note_head(stage: Stage) -> None:
    """Before a model call: keep what the ledger of this request needs, unless it is known already."""
    request = stage.request
    now = (request.system, request.tools, request.output)
    if all(one is other for one, other in zip(now, stage.headed, strict=False)) and stage.headed:
        return
    if not stage.headed:
        stage.partitions = stage.kit.partitions()
    stage.headed = now
    head = head_of(request, stage.partitions)
    if head != stage.view.head:
        stage.view.head = head
        if head:
            stage.say(HeadChanged(head))
