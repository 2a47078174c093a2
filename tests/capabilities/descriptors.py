"""What this process holds open below a folder."""

import contextlib
from pathlib import Path


def open_below(folder: Path) -> list[str]:
    """Where those of its descriptors lead that lead to a folder or below it; what else is open is not told."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself is closed by now
            path = fd.readlink()
            if path.is_relative_to(folder):
                found.append(str(path))
    return sorted(found)
