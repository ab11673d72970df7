"""The web server: granian, one worker a core, on config.asgi. Run as `python -m config.web_server`.

This process holds no Django: it starts the workers and starts them again; they load the application.
"""

import multiprocessing
import os
import pkgutil
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from config import watchdog
from config.environment import env_int, env_str
from config.options import parse_address
from config.processes import end_with_parent, raise_open_files_limit

_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"lines": {"()": "config.logs.JsonLines"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        name: {"handlers": ["console"], "level": "INFO", "propagate": False}
        for name in ("_granian", watchdog.log.name)
    },
}


# What a crowd took is given back. granian's allocator does so by itself only from a thread of its own, and glibc lets
# its limits grow with what it sees, up to 64 MB a thread.
_ALLOCATORS = {
    "_RJEM_MALLOC_CONF": "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0",
    # Pieces of uploads stay in the heap: mapping each anew costs more.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 20),
}


def main() -> None:
    for name, value in _ALLOCATORS.items():
        os.environ.setdefault(name, value)
    from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.server import Server

    raise_open_files_limit()
    fresh_metrics_directory()
    # Not forked: of what the allocator is told, a forked worker keeps everything but the thread that does it.
    multiprocessing.set_start_method("spawn")
    host, port = parse_address(env_str("BREAKWATER_ADDR", "127.0.0.1:8080"))
    cert, key = env_str("BREAKWATER_TLS_CERT"), env_str("BREAKWATER_TLS_KEY")
    Server(
        "config.asgi:application",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=env_int("BREAKWATER_WORKERS", 0) or os.cpu_count() or 1,
        http=HTTPModes.http1,
        # What waits for a slow reader: by default 400 KiB. Less makes pieces of uploads smaller, and costs them CPU.
        http1_settings=HTTP1Settings(max_buffer_size=192 << 10),
        loop=Loops.uvloop,
        websockets=False,
        # Granian's default admits 512 requests a worker, which as many slow readers fill.
        backlog=4096,
        backpressure=8192,
        respawn_failed_workers=True,
        workers_kill_timeout=15,
        log_dictconfig=_LOGGING,
        ssl_cert=Path(cert) if cert else None,
        ssl_key=Path(key) if key else None,
        ssl_protocol_min=SSLProtocols.tls12,
    ).serve(target_loader=_Loader(watchdog.start()))


class _Loader:
    """What a worker does first; sent to each that is started."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._parent = os.getpid()

    def __call__(self, target: str) -> Callable[..., object]:
        end_with_parent(signal.SIGTERM, self._parent)()  # none is left listening when its parent is killed
        watchdog.be_watched(self._pipe)
        application: Callable[..., object] = pkgutil.resolve_name(target)
        return application


def fresh_metrics_directory() -> None:
    """Counters that all workers of this server share; those of an earlier start would only pile up.

    prometheus_client reads the variable when a worker first imports it.
    """
    run = env_str("BREAKWATER_RUN_DIR", f"{env_str('BREAKWATER_HOME', './.breakwater')}/run")
    directory = Path(run) / "metrics"
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():  # the directory stays: a full disk may have no room for a new one
        old.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)


if __name__ == "__main__":
    main()
