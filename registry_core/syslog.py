"""Messages for a syslog server (RFC 5424), and their way over TCP or UDP."""

from __future__ import annotations

import contextlib
import fcntl
import re
import socket
import struct
import termios
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

TIMEOUT = 5.0  # seconds for connecting, for a send, for the last acknowledgement
MAX_DATAGRAM = 2048  # RFC 5426: what every receiver should take
FACILITY = 13  # log audit
INFORMATIONAL, WARNING = 6, 4
# RFC 5612's number for examples: Breakwater has none of its own.
_DATA = "audit@32473"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
FORMS = "must be host:port or tcp://host:port for TCP, or udp://host:port for UDP"


class Endpoint(NamedTuple):
    host: str
    port: int
    is_tcp: bool


def parse_endpoint(text: str) -> Endpoint:
    """ValueError says which forms there are."""
    kind, _, place = text.rpartition("://")
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(f"//{place}")
        is_plain = not (parts.username or parts.path or parts.query or parts.fragment)
        if kind in ("", "tcp", "udp") and is_plain and parts.hostname and parts.port:
            return Endpoint(parts.hostname, parts.port, kind != "udp")
    raise ValueError(FORMS)


def find_fault(text: str) -> str:
    """What is wrong with it as a setting, or nothing. Over UDP nobody says that he listens: there the name must be
    known."""
    try:
        connect(parse_endpoint(text)).close()
    except ValueError as e:
        return str(e)
    except OSError as e:
        return f"must be of a server that can be reached: {e}"
    return ""


# -- messages


def message(
    at: datetime, host: str, event: str, fields: Mapping[str, str], text: str, *, severity: int = INFORMATIONAL
) -> bytes:
    """One line, whatever a name in it may hold."""
    data = " ".join(f'{name}="{_escaped(value)}"' for name, value in fields.items())
    head = f"<{FACILITY * 8 + severity}>1 {at:%Y-%m-%dT%H:%M:%S.%fZ} {host[:255] or '-'} breakwater - {event[:32]}"
    return f"{head} [{_DATA} {data}] {_CONTROL.sub(' ', text)}".encode()


def _escaped(value: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", _CONTROL.sub(" ", value))


# -- the network


def connect(endpoint: Endpoint) -> socket.socket:
    if endpoint.is_tcp:
        return socket.create_connection(endpoint[:2], TIMEOUT)
    family, kind, protocol, _, address = socket.getaddrinfo(*endpoint[:2], type=socket.SOCK_DGRAM)[0]
    made = socket.socket(family, kind, protocol)
    made.connect(address)
    return made


def send(endpoint: Endpoint, messages: Iterable[bytes]) -> None:
    """OSError if any of them may not have arrived."""
    with connect(endpoint) as made:
        if endpoint.is_tcp:
            # RFC 6587, octet counting: a message may hold anything.
            made.sendall(b"".join(b"%d %b" % (len(one), one) for one in messages))
            made.shutdown(socket.SHUT_WR)
            _wait_for_acknowledgement(made)
            return
        for one in messages:
            made.send(one[:MAX_DATAGRAM])
        time.sleep(0.05)  # for the answer of a machine on which nobody listens
        if code := made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, "nobody listens")


def _wait_for_acknowledgement(made: socket.socket) -> None:
    """Until the other side has closed, which it does after reading all; or holds all and keeps the connection."""
    made.settimeout(TIMEOUT)
    try:
        while made.recv(4096):
            pass
    except TimeoutError:
        if struct.unpack("i", fcntl.ioctl(made, termios.TIOCOUTQ, b"\0\0\0\0"))[0]:
            raise
