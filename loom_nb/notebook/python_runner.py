"""Runs an agent's code in a kernel: what it displays goes into its result, not into the cell."""

import base64
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from loom_nb.border import clean
from loom_nb.capabilities.python_running import ORIGIN, ThreadRunner, Work
from loom_nb.messages import ImagePart, ResultPart, TextPart

_IMAGES = ("image/png", "image/jpeg")


class NotebookRunner(ThreadRunner):
    """A runner that also takes `display(...)`, `plt.show()` and the like.

    Args:
        shell: the IPython shell, of a kernel or of a terminal.
    """

    def __init__(self, shell: Any) -> None:
        super().__init__()
        self._shell = shell

    @contextlib.contextmanager
    def routed(self, taker: Callable[[], Work | None]) -> Iterator[None]:
        """While the block runs, displays of the code go to its Work."""
        publisher = self._shell.display_pub
        publish, clear = publisher.publish, publisher.clear_output

        def published(data: Any = None, metadata: Any = None, *args: Any, **options: Any) -> Any:
            work = taker()
            if work is None:
                return publish(data, metadata, *args, **options)
            part = part_of(data or {})
            if part is not None:
                work.add(part)
            return None

        def cleared(*args: Any, **options: Any) -> Any:
            return clear(*args, **options) if taker() is None else None

        formatter = self._shell.display_formatter
        form = formatter.format

        def formed(value: Any, *args: Any, **options: Any) -> Any:
            work = taker()
            if work is not None:
                work.shown(value)
            return form(value, *args, **options)

        publisher.publish, publisher.clear_output, formatter.format = published, cleared, formed
        try:
            yield
        finally:
            if vars(formatter).get("format") is formed:
                del formatter.format
            for name, ours in (("publish", published), ("clear_output", cleared)):
                if vars(publisher).get(name) is ours:
                    delattr(publisher, name)


def part_of(data: Mapping[str, Any]) -> ResultPart | None:
    """What a model can read of a display: its image, else its text."""
    for media_type in _IMAGES:
        image = data.get(media_type)
        if isinstance(image, str):
            image = base64.b64decode(image)
        if isinstance(image, bytes):
            return ImagePart(image, media_type, ORIGIN)
    for media_type in ("text/llm+plain", "text/markdown", "text/plain", "text/html"):
        text = data.get(media_type)
        if isinstance(text, str) and text:
            return TextPart(clean(text), ORIGIN)
    return None
