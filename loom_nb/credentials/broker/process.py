"""Starts the process of the broker and hands it lines; knows when it is gone."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from loom_nb.credentials.broker import frames
from loom_nb.credentials.broker.operations import Hello
from loom_nb.errors import CredentialError

LOG = "broker.log"
MAX_LOG = 2**20
"""Bytes after which a log is begun anew, at the start of a process; one old one is kept."""
STOP_SECONDS = 3.0

_GIVEN = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SYSTEMROOT"}
    | {"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR"}
    # what keychains are found and opened by
    | {"DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "DISPLAY"}
    | {"WAYLAND_DISPLAY", "PYTHON_KEYRING_BACKEND"}
)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The few names that the process is given."""
    return {
        name: value
        for name, value in environ.items()
        if name in _GIVEN or name.startswith(("LC_", "KEYRING_PROPERTY_"))
    }


class Process:
    """The broker as a process of its own; it ends when the control line does.

    Args:
        hello: where the secrets lie, and how they are opened.

    Raises:
        CredentialError: it cannot be started.
    """

    def __init__(self, hello: Hello) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs, opened_log(Path(hello.home) / LOG) as log:
                main = Path(__file__).with_name("__main__.py")
                self._child = subprocess.Popen(  # noqa: S603  our own interpreter and our own module
                    [sys.executable, "-I", str(main), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment(os.environ),
                    cwd="/",
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # an interrupt from the keyboard is not for it
                )
            ours.sendall(frames.packed(frames.JSON, frames.encoded(hello)))
        except OSError as error:
            ours.close()
            raise CredentialError(
                "the broker of secrets cannot be started",
                cause=f"{type(error).__name__}: {error.strerror}",
                fixes=("%loom doctor",),
            ) from None
        self._control = ours

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as is known."""
        return self._child.poll() is None

    def hand_over(self, line: socket.socket) -> None:
        """Give it a line to serve, which the caller closes. Raises `ConnectionError` where it is gone."""
        try:
            socket.send_fds(self._control, [b"L"], [line.fileno()])
        except OSError as error:
            raise ConnectionError(str(error)) from None

    def let_go(self) -> None:
        """Close this process's end of the control line; a forked child does not speak for its parent."""
        self._control.close()
        self._child.returncode = 0  # nobody else's child is waited for

    def stop(self) -> None:
        """End it. May be called twice."""
        self._control.close()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def opened_log(path: Path) -> IO[bytes]:
    """The file that the process writes into what it did; for this user only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix" and path.parent.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        path.parent.chmod(0o700)  # else others could put files of theirs in place of ours
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > MAX_LOG:
            path.replace(path.with_name(f"{path.name}.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o600), "ab", buffering=0)
