"""One TLS context for the clients of all vendors: reading the certificates takes longer than a call."""

import os
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


def context() -> "ssl.SSLContext":
    """What httpx2 would make for each client; made anew when the environment names other files."""
    return _context(os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", ""))


@lru_cache(maxsize=4)
def _context(file: str, directory: str) -> "ssl.SSLContext":
    import httpx2

    return httpx2.create_ssl_context()
