"""A syslog server for the tests."""

from __future__ import annotations

import contextlib
import socket
import threading


class Collector:
    """A syslog server on TCP: reads each connection to its end, and keeps the frames."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.received = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    while data := connection.recv(65536):
                        self.received += data

    @property
    def messages(self) -> list[str]:
        """Octet counting (RFC 6587)."""
        frames, rest = [], self.received
        while rest:
            length, _, rest = rest.partition(b" ")
            frames.append(rest[: int(length)].decode())
            rest = rest[int(length) :]
        return frames

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
