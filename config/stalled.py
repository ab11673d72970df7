"""Connections of clients that live and take nothing: what waits for them is given up after five minutes.

The kernel ends one whose peer has vanished, and granian one that sends no head. A client that asked for a blob and does
not read it keeps file, buffers and its place among the open connections, for as long as its machine acknowledges.
TCP_USER_TIMEOUT is of no use here: it also ends readers that are only slow, whose window is nearly always closed.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

LOOK = 30.0  # seconds between two looks
LOOKS = 10  # in a row at which bytes waited and none was taken

log = logging.getLogger("breakwater.web")

# struct tcp_info (linux/tcp.h): tcpi_unacked, tcpi_bytes_acked, tcpi_notsent_bytes.
_UNACKED, _ACKED, _NOT_SENT = struct.Struct("=24xI"), struct.Struct("=120xQ"), struct.Struct("=144xI")
_INFO = 148
_RESET = struct.pack("ii", 1, 0)  # struct linger: close() throws away what is not sent

_Peer = tuple[object, ...]


@dataclass
class _Seen:
    taken: int  # bytes that the client has acknowledged
    looks: int = 0


@contextlib.contextmanager
def _copy_of(descriptor: int) -> Iterator[socket.socket]:
    """Its own descriptor: the number may be closed and given away while it is looked at."""
    copy = os.dup(descriptor)
    try:
        connection = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    with connection:
        yield connection


class Stalled:
    """The accepted connections of this process, found among its open files: granian shows none of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._seen: dict[_Peer, _Seen] = {}

    def look(self) -> int:
        """How many connections were ended."""
        before, self._seen = self._seen, {}
        ended = 0
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            with (
                contextlib.suppress(OSError),
                _copy_of(descriptor) as connection,
            ):  # closed meanwhile, or no socket
                ended += self._is_ended(connection, before)
        return ended

    def _is_ended(self, connection: socket.socket, before: dict[_Peer, _Seen]) -> bool:
        is_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
        if not is_tcp or connection.getsockname()[1] != self._port:
            return False
        peer: _Peer = connection.getpeername()
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO)
        if len(info) < _INFO or not (_UNACKED.unpack_from(info)[0] or _NOT_SENT.unpack_from(info)[0]):
            return False
        (taken,) = _ACKED.unpack_from(info)
        last = before.get(peer)
        seen = self._seen[peer] = _Seen(taken, last.looks + 1 if last and last.taken == taken else 0)
        if seen.looks < LOOKS:
            return False
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.shutdown(socket.SHUT_RDWR)
        del self._seen[peer]
        return True


async def end_stalled(port: int) -> None:
    """For as long as the process serves; in a thread, since there may be thousands."""
    stalled = Stalled(port)
    while True:
        await asyncio.sleep(LOOK)
        if ended := await asyncio.to_thread(stalled.look):
            log.info("clients took nothing for %d s: %d connections ended", int(LOOK * LOOKS), ended)
