"""The broker as a process: `python -I …/broker/__main__.py <number of its control line>`.

It is run by its path and isolated, so that neither the working directory nor the environment can put
modules of theirs in place of ours; and closed to others before it imports anything.
"""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

_SET_DUMPABLE = 4
_SET_NO_NEW_PRIVS = 38
_DENY_ATTACH = 31


def harden() -> tuple[str, ...]:
    """Close this process to others of the same user, as far as the system lets; what was done, in words.

    Root is not kept out.
    """
    done = []
    os.umask(0o077)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        done.append("no core dumps")
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        libc = ctypes.CDLL(None)
        if sys.platform == "linux":
            if libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0) == 0:
                done.append("not dumpable")
            if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
                done.append("no new privileges")
        elif sys.platform == "darwin" and libc.ptrace(_DENY_ATTACH, 0, 0, 0) == 0:
            done.append("no debugger")
    return tuple(done)


def find_package() -> None:
    """Take loom_nb from where this file lies, whatever else is installed; its neighbours come last."""
    root = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        "loom_nb", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    if spec is None or spec.loader is None:
        raise ImportError("loom_nb")
    module = importlib.util.module_from_spec(spec)
    sys.modules["loom_nb"] = module
    spec.loader.exec_module(module)
    if str(root.parent) not in sys.path:
        sys.path.append(str(root.parent))


if __name__ == "__main__":
    closed = harden()
    find_package()
    from loom_nb.credentials.broker.serving import main

    main(int(sys.argv[1]), closed)
