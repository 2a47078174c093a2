"""Work on a file in a thread of its own that comes to its end also where who waits for it is cancelled."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def unbroken(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """`asyncio.to_thread`, whose caller goes on when the work is done, cancelled or not.

    So what was stopped writes nothing any more, and opens no file again that was closed after it.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work, *given, **named))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            with suppress(asyncio.CancelledError):  # who cancels again waits, too
                await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # it is nobody's any more
        raise
