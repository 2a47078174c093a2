"""Heads: what stood before the conversation in each request, noted in the log whenever it changed."""

from loom_nb.events import HeadChanged
from loom_nb.runtime.ledger import head_of
from loom_nb.runtime.stage import Stage


def note_head(stage: Stage) -> None:
    """Before a model call: keep what the ledger of this request needs, unless it is known already."""
    request, view = stage.request, stage.view
    system, tools, output, partitions = view.headed
    if (
        request.system is system
        and request.tools is tools
        and request.output is output
        and stage.partitions is partitions
    ):
        return
    view.headed = (request.system, request.tools, request.output, stage.partitions)
    stage.weighed = None
    head = head_of(request, stage.partitions)
    if head != view.head:
        view.head = head
        if head:
            stage.say(HeadChanged(head))
