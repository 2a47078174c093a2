"""A click reaches Python while a cell runs, also on kernels that would hold it until the cell ends.

Before 7.4 ipykernel keeps a widget's message behind the lock of the running cell, unless the front
end happens to use subshells. The gate looks at messages where the kernel reads them from the
socket, takes out those for the comms that were given to it, and passes everything else on untouched.
"""

import functools
from collections.abc import Callable
from typing import Any

import msgspec

Receiver = Callable[[dict[str, Any]], None]
"""Takes the content of a custom message; called on the thread that reads the socket, so it may only
hand over to the event loop."""


def is_needed(version: str) -> bool:
    """Whether an ipykernel of this version holds messages back while a cell waits."""
    parts = version.split(".")[:2]
    return all(part.isdigit() for part in parts) and tuple(int(part) for part in parts) < (7, 4)


class CommGate:
    """Stands where one kernel reads its shell channel."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._receivers: dict[str, Receiver] = {}
        self._before: Any = None
        self._installed = False

    def watch(self, comm_id: str, receiver: Receiver) -> None:
        """Send the custom messages of this comm to `receiver`, from now on."""
        self._receivers[comm_id] = receiver
        stream = getattr(self._kernel, "shell_stream", None)
        if not self._installed and stream is not None:
            self._installed = True
            stream.io_loop.add_callback(self._stand, stream)  # only its own thread may change a stream

    def forget(self, comm_id: str) -> None:
        """Watch this comm no more."""
        self._receivers.pop(comm_id, None)

    def remove(self) -> None:
        """Give the channel back as it was."""
        self._receivers.clear()
        stream = getattr(self._kernel, "shell_stream", None)
        if self._installed and stream is not None:
            self._installed = False
            stream.io_loop.add_callback(self._leave, stream)

    def _stand(self, stream: Any) -> None:
        self._before = stream._recv_callback  # the kernel keeps no public reference to it
        stream.on_recv(functools.partial(self._pass, self._before), copy=False)

    def _leave(self, stream: Any) -> None:
        if self._before is not None:
            stream.on_recv(self._before, copy=False)

    def _pass(self, before: Callable[[Any], Any], frames: Any) -> Any:
        if self._receivers and self._taken(frames):
            return None
        return before(frames)

    def _taken(self, frames: Any) -> bool:
        """Whether it was a message for one of ours; a message that cannot be read is not."""
        session = self._kernel.session
        try:
            _, parts = session.feed_identities(frames, copy=False)
            message = session.deserialize(parts, content=False, copy=False)  # checks the signature
            if message["header"].get("msg_type") != "comm_msg":
                return False
            content = session.unpack(message["content"])
            receiver = self._receivers.get(content.get("comm_id", ""))
            data = content.get("data", {})
            if receiver is None or data.get("method") != "custom":
                return False
            receiver(msgspec.convert(data.get("content"), dict[str, Any]))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return False  # the kernel says in its own way what is wrong with it
        return True
