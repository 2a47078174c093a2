"""What travels between kernel and broker: frames of a length, a kind and so many bytes."""

import asyncio
import socket
import struct

import msgspec

from loom_nb.errors import CredentialError

JSON = ord("J")
DATA = ord("D")
MAX_JSON = 32 * 2**20
MAX_DATA = 2**18
"""Bytes of one frame; what is longer goes in several."""
MAX_BODY = 64 * 2**20
"""Bytes of the body of a request."""

_HEAD = struct.Struct("!IB")
_MOST = {JSON: MAX_JSON, DATA: MAX_DATA}


def packed(kind: int, payload: bytes) -> bytes:
    """A frame. Raises `CredentialError` where it is too large."""
    if len(payload) > _MOST[kind]:
        raise CredentialError(
            "this is too large for the broker of secrets",
            cause=f"{len(payload):,} bytes, the limit is {_MOST[kind]:,}",
        )
    return _HEAD.pack(len(payload), kind) + payload


def pieces(data: bytes) -> list[bytes]:
    """Data as frames that fit, and the empty one that ends it. Raises `CredentialError` for too much."""
    if len(data) > MAX_BODY:
        raise CredentialError(
            "this is too large for the broker of secrets",
            cause=f"a body of {len(data):,} bytes, the limit is {MAX_BODY:,}",
        )
    parts = [data[start : start + MAX_DATA] for start in range(0, len(data), MAX_DATA)]
    return [packed(DATA, part) for part in (*parts, b"")]


def _head(data: bytes) -> tuple[int, int]:
    length, kind = _HEAD.unpack(data)
    if length > _MOST.get(kind, -1):
        raise ConnectionError("a frame that is none")
    return length, kind


def receive(line: socket.socket) -> tuple[int, bytes]:
    """The next frame, waited for. Raises `ConnectionError` where the line ends."""
    length, kind = _head(_exactly(line, _HEAD.size))
    return kind, _exactly(line, length)


def _exactly(line: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = line.recv(size - len(data))
        if not part:
            raise ConnectionError("the line ended")
        data += part
    return bytes(data)


async def read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next frame. Raises `ConnectionError` where the line ends."""
    try:
        length, kind = _head(await reader.readexactly(_HEAD.size))
        return kind, await reader.readexactly(length) if length else b""
    except asyncio.IncompleteReadError:
        raise ConnectionError("the line ended") from None


async def read_data(reader: asyncio.StreamReader, most: int) -> bytes:
    """All data up to the empty frame. Raises `ConnectionError` for more than `most` bytes of it."""
    data = bytearray()
    while True:
        kind, part = await read(reader)
        if kind != DATA or len(data) + len(part) > most:
            raise ConnectionError("data that was not agreed on")
        if not part:
            return bytes(data)
        data += part


async def streams(line: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A line for the event loop that runs."""
    if line.family == getattr(socket, "AF_UNIX", None):
        return await asyncio.open_unix_connection(sock=line)
    return await asyncio.open_connection(sock=line)


def encoded(value: object) -> bytes:
    """JSON. Raises `CredentialError` for text that is none."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise CredentialError("a name or a text holds a lone surrogate") from None
