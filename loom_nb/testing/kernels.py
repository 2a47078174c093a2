"""Where a kernel that we start listens: sockets in a folder of its own, where the system has such."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def kernel_sockets() -> Iterator[dict[str, str]]:
    """Options for a `jupyter_client.KernelManager`: its kernel listens at files that only this user may open.

    Over TCP a manager chooses free ports some time before the kernel binds them; another program may take
    one in between, and then the kernel dies. Windows has no such sockets: there it is TCP.

    Yields:
        `transport` and `ip`, valid until the block ends; nothing where TCP is to be used.
    """
    if sys.platform == "win32":
        yield {}
        return
    with TemporaryDirectory(prefix="loom-") as folder:
        yield {"transport": "ipc", "ip": str(Path(folder) / "kernel")}
