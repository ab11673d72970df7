"""Is the server on this machine ready? Asked without http.client, which would load all of TLS."""

import contextlib
import json
import socket
from typing import IO

from config.options import Options

PATH = "/api/v2.0/health"


def ask_health(options: Options) -> str:
    """Nothing when the registry says that it is healthy, else what is the matter."""
    try:
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection(options.local_address, timeout=5))
            connection = stack.enter_context(_encrypted(plain)) if options.tls_cert else plain
            request = f"GET {PATH} HTTP/1.0\r\nHost: {options.address}\r\nAccept: application/json\r\n\r\n"
            connection.sendall(request.encode())
            return _trouble(stack.enter_context(connection.makefile("rb")))
    except OSError as e:
        return f"{options.local_url}{PATH} does not answer ({e.strerror or e})"


def _trouble(answer: IO[bytes]) -> str:
    status, _, body = answer.read(1 << 20).partition(b"\r\n\r\n")
    try:
        health = json.loads(body)
        if health["status"] == "healthy":
            return ""
        sick = [c for c in health["components"] if c["status"] != "healthy"]
        return "; ".join(f"{c['name']}: {c.get('error', c['status'])}" for c in sick) or "unhealthy"
    except (ValueError, KeyError, TypeError):
        return f"{PATH} answers {status.decode('latin-1').partition(chr(13))[0]!r}"


def _encrypted(plain: socket.socket) -> socket.socket:
    import ssl

    # The certificate is for the name that clients use; this asks by address, on this machine.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain)
