"""A long line, or one that delivers in odd pieces: stands between a client and a server where the kernel has no netem.

``relay.py DELAY SEED LISTEN TARGET``: what arrives at the port LISTEN goes on to the port TARGET after DELAY seconds, and so
back. With a SEED of 1 or more it also goes on in pieces of any size, each after a moment of its own. On SIGTERM it says how
much it has carried, in how many pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import sys
from collections.abc import Iterator

_HOST = "127.0.0.1"
_SIZES = (1, 2, 7, 100, 1448, 5000, 1 << 16)
_MOMENT = 0.004


class Relay:
    """What it does to a line, and what it has carried."""

    def __init__(self, delay: float, seed: int) -> None:
        self._delay = delay
        self._dice = random.Random(seed) if seed else None  # noqa: S311  a throw that can be repeated
        self.carried = self.pieces = 0

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Carry one direction of a connection to its end."""
        # Everything that is under way at a moment, as on a line: the delay of one piece holds up no other.
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=4096)
        delivering = asyncio.create_task(self._deliver(under_way, target))
        clock = asyncio.get_running_loop()
        data = b"there was nothing yet"
        while data:
            try:
                data = await source.read(1 << 16)
            except ConnectionError:
                data = b""
            await under_way.put((clock.time() + self._delay, data))
        await delivering

    async def _deliver(self, under_way: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - clock.time())
                if not data:
                    break
                for piece in self._split(data):
                    target.write(piece)
                    await target.drain()
                    self.carried += len(piece)
                    self.pieces += 1
                    if self._dice and self._dice.random() < 0.5:
                        await asyncio.sleep(self._dice.random() * _MOMENT)
        target.close()

    def _split(self, data: bytes) -> Iterator[bytes]:
        while data:
            size = self._dice.choice(_SIZES) if self._dice else len(data)
            yield data[:size]
            data = data[size:]


async def main(delay: float, seed: int, listen: int, target: int) -> None:
    """Carry until SIGTERM comes."""
    relay = Relay(delay, seed)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_connection(_HOST, target)
        for each in (writer, onward_writer):  # each piece by itself
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(relay.carry(reader, onward_writer), relay.carry(onward_reader, writer))

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with await asyncio.start_server(connected, _HOST, listen):
        await ended.wait()
    print(relay.carried, relay.pieces)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), *map(int, sys.argv[2:5])))
