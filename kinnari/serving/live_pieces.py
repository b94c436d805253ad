"""Replies of several threads, read in one event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

from kinnari.serving.chat_model import Reply


class LivePieces:
    """Pieces of some replies in the order they come; made inside a running event loop.

    Each reply is read by a thread of its own: they wait most of the time, and a pool of fewer threads than replies would let
    some of them stand still.
    """

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = list(replies)
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[int, str | Exception | None]] = asyncio.Queue()
        self._open = len(self.replies)
        for i, reply in enumerate(self.replies):
            threading.Thread(target=self._read, args=(i, reply), name="reply", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[tuple[int, str | None]]:
        """(number of the reply, piece); None once when that reply is complete. Raises what a reply raises."""
        while self._open:
            number, piece = await self._queue.get()
            if isinstance(piece, Exception):
                raise piece
            self._open -= piece is None
            yield number, piece

    def cancel(self) -> None:
        """Nobody reads on."""
        for reply in self.replies:
            reply.cancel()

    def _read(self, number: int, reply: Reply) -> None:
        try:
            for piece in reply:
                self._tell(number, piece)
            self._tell(number, None)
        except Exception as problem:
            self._tell(number, problem)

    def _tell(self, number: int, piece: str | Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (number, piece))
        except RuntimeError:  # the loop has ended, and nobody reads
            self.replies[number].cancel()
