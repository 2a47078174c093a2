"""Put on PYTHONPATH by tests: any connection that leaves this machine is an error."""

import socket

_connect = socket.socket.connect


def _only_this_machine(self: socket.socket, address: object) -> None:
    host = address[0] if isinstance(address, tuple) else ""
    if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"this test has no network: {address!r}")
    _connect(self, address)


socket.socket.connect = _only_this_machine  # type: ignore[method-assign]
