"""A TCP proxy that can stop: connections stay open and nothing passes, or all of them are reset at once."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading


class Valve:
    """In front of a server on this machine, on a port of its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._flowing = threading.Event()
        self._flowing.set()
        self._sockets: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """From now on bytes, also those of new connections, arrive here and go no further."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def reset(self) -> int:
        """Both ends of every connection hear a reset; how many connections there were."""
        cut = list(self._sockets)
        for one in cut:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Wakes the thread that reads it; the close that follows is the reset.
                one.shutdown(socket.SHUT_RD)
            one.close()
        self._sockets.difference_update(cut)
        return len(cut) // 2

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.reset()
        self._flowing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                    # Before a thread may close them again: what fails then must not end this loop.
                    for one in (client, server):
                        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError:
                    client.close()
                    continue
                self._sockets |= {client, server}
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._sockets.discard(one)
