"""A web process that hangs is ended; the web server starts another.

Each web process listens on a socket of its own, so that what comes to one that hangs would wait for ever. Each writes
its number into a pipe every second, from its event loop; a thread of the process that started them reads it.

What counts are the reader's own looks, not seconds: a machine that was suspended, or a parent that got no time itself,
finds every beat that was written meanwhile at its next look.
"""

import asyncio
import contextlib
import faulthandler
import logging
import multiprocessing
import os
import signal
import struct
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

PERIOD = 1.0  # seconds between two beats
LOOK = 2.0  # seconds between two looks
MISSES = 8  # looks in a row without a beat; the one before the last asks for the stacks

log = logging.getLogger("breakwater.watchdog")

_BEAT = struct.Struct("=q")  # written whole or not at all


@dataclass
class _Watched:
    handle: int  # pidfd: the number may be given to another process once this one is gone
    missed: int = 0

    def signal(self, number: int) -> bool:
        """False when it has ended."""
        try:
            signal.pidfd_send_signal(self.handle, number)
        except ProcessLookupError:
            return False
        return True


class Heart:
    """The end of the pipe that a web process has."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def beat(self) -> None:
        faulthandler.register(signal.SIGUSR2)
        while True:
            self.beat_once()
            await asyncio.sleep(PERIOD)

    def beat_once(self) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody has looked for an hour: what is there says enough
            os.write(self._pipe.fileno(), _BEAT.pack(os.getpid()))


class Watchdog:
    """In the parent. `pipe` goes to each web process; `watch` runs in a thread."""

    def __init__(self) -> None:
        self._read, self.pipe = multiprocessing.Pipe(duplex=False)
        os.set_blocking(self._read.fileno(), False)
        os.set_blocking(self.pipe.fileno(), False)
        self._watched: dict[int, _Watched] = {}

    def watch(self) -> None:
        while True:
            time.sleep(LOOK)
            self.look()

    def look(self) -> None:
        beating = self._beating()
        for pid in beating - self._watched.keys():
            with contextlib.suppress(ProcessLookupError):
                self._watched[pid] = _Watched(os.pidfd_open(pid))
        for pid, process in list(self._watched.items()):
            process.missed = 0 if pid in beating else process.missed + 1
            if not self._judge(pid, process):
                os.close(process.handle)
                del self._watched[pid]

    def _beating(self) -> set[int]:
        data = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                data += os.read(self._read.fileno(), 65536)
        return {pid for (pid,) in _BEAT.iter_unpack(data)}

    def _judge(self, pid: int, process: _Watched) -> bool:
        """False when it has ended, or is to be killed."""
        if process.missed < MISSES - 1:
            return process.signal(0)
        if process.missed < MISSES:
            return process.signal(signal.SIGUSR2)  # its stacks go into the log; one that is stopped shows none
        if process.signal(signal.SIGKILL):
            seconds = int(MISSES * LOOK)
            log.error("web process %d has hung for %d s: killed, another takes its place", pid, seconds)
        return False


_heart: Heart | None = None


def start() -> Connection:
    """In the parent: watches from now on whoever beats into what is returned."""
    dog = Watchdog()
    threading.Thread(target=dog.watch, name="watchdog", daemon=True).start()
    return dog.pipe


def be_watched(pipe: Connection) -> None:
    """In a web process, before it serves."""
    global _heart  # noqa: PLW0603  one for the process
    _heart = Heart(pipe)


async def beat() -> None:
    """In a web process, for as long as it serves; without such a parent nothing."""
    if _heart is not None:
        await _heart.beat()
