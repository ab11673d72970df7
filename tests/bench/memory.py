"""Memory of the whole tree as PSS: idle, at work, and idle again.

Pages of programs and libraries are divided by the number of processes that have them, so at the moment of measuring no
other registry of ours may run. Before that it may: nobody waits for five minutes to pass.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from tests.bench import generator, growth, rest, usage
from tests.bench.progress import say
from tests.bench.reads import manifest_request
from tests.bench.registries import Breakwater, Registry
from tests.bench.rows import Bench, Goal, Measure, row
from tests.bench.stored import ensure_stored, tagged
from tests.bench.writes import image_push

MIB = 1 << 20
LARGEST = Goal(most=400)


SETTLED = 5.0  # seconds for a peer that was started anew: nothing in it works on its own
_standing: list[Breakwater] = []


def stand_idle(bench: Bench) -> None:
    """Start one that nobody asks anything until memory_idle measures it."""
    _standing.append(Breakwater(bench.directory / "idle"))
    _standing[0].start()


def stop_standing() -> None:
    while _standing:
        _standing.pop().server.remove()


@row("memory_idle", "memory, idle since the start", group="idle", unit="MB", goal=LARGEST, rounds=1)
def memory_idle(bench: Bench, registry: Registry) -> Measure:
    if registry is not bench.ours:
        registry.restart()
        return _idle(registry, registry.started_at, SETTLED)
    growth.stop_all()
    registry.stop()
    measure = _idle(_standing[0], _standing[0].started_at, bench.idle)
    stop_standing()
    registry.start()
    return measure


def _idle(registry: Registry, since: float, seconds: float) -> Measure:
    if (left := since + seconds - time.monotonic()) > 0:
        say(f"{registry.name} stands idle for another {left:.0f} s")
        time.sleep(left)
    notes = {
        "idle_seconds": round(time.monotonic() - since),
        "shared_mb": usage.shared_bytes(registry.pid) / MIB,
    }
    return Measure(value=registry.memory() / MIB, notes=notes)


@row("memory_loaded", "memory, highest at work", group="write", unit="MB", rounds=1)
def memory_loaded(bench: Bench, registry: Registry) -> Measure:
    """64 clients read manifests, then 16 push images."""
    ensure_stored(registry)
    file = generator.write(
        registry.directory / "requests" / "loaded",
        registry.host,
        (manifest_request(registry, one, "GET", by_tag=True) for one in tagged()),
    )
    with _sampled(registry) as samples:
        generator.run(file, registry.port, seconds=bench.seconds).check()
        image_push(bench, registry)
    return Measure(value=max(samples) / MIB)


@contextlib.contextmanager
def _sampled(registry: Registry) -> Iterator[list[int]]:
    samples = [registry.memory()]
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.2):
            samples.append(registry.memory())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


@row("memory_after", "memory, idle since the load", group="end", unit="MB", goal=LARGEST, rounds=1)
def memory_after(bench: Bench, registry: Registry) -> Measure:
    growth.stop_all()
    rest.stop_seeded()
    return _idle(registry, registry.used_at, bench.idle)
