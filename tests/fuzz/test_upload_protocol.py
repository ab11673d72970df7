"""Blob sessions against a model: what distribution-spec "Pushing blobs" says of offset and content, no more.

The model knows a session by the bytes it must hold. Where the specification leaves a choice, docs and design decide: a
digest that does not fit ends the session, a chunk in the wrong place changes nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import httpx
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.fuzz.running import SEED
from tests.fuzz.world import World
from tests.reporting import Report
from tests.server import Server

EXAMPLES, STEPS = 60, 30
chunks = st.binary(min_size=1, max_size=20) | st.sampled_from((b"x" * 70_000, b"y" * (1 << 20)))


@dataclass
class Model:
    """One session: its path and what it holds; None once it is over."""

    path: str
    content: bytes | None = b""

    @property
    def range(self) -> str:
        return f"0-{max(len(self.content or b'') - 1, 0)}"


class Uploads(RuleBasedStateMachine):
    world: World
    requests = finished = aborted = 0
    sessions: Bundle[Model] = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Model] = []
        self.name = f"{self.world.project}/uploads"
        self.client = _client(self.world)

    def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        type(self).requests += 1
        return self.client.request(method, path, **options)  # type: ignore[arg-type]

    @rule(target=sessions)
    def begin(self) -> Model:
        answer = self.ask("POST", f"/{self.name}/blobs/uploads/")
        assert (answer.status_code, answer.headers["Range"]) == (202, "0-0")
        path = answer.headers["Location"].removeprefix(f"{self.world.server.url}/v2")
        assert path.startswith(f"/{self.name}/blobs/uploads/")
        self.known.append(Model(path))
        return self.known[-1]

    @rule(model=sessions, data=chunks, announce=st.booleans(), chunked=st.booleans())
    def append(self, model: Model, data: bytes, announce: bool, chunked: bool) -> None:
        start = len(model.content or b"")
        headers = {"Content-Range": f"{start}-{start + len(data) - 1}"} if announce else {}
        content = iter([data[:7], data[7:]]) if chunked else data
        answer = self.ask("PATCH", model.path, content=content, headers=headers)
        if model.content is None:
            assert answer.status_code == 404
            return
        model.content += data
        assert (answer.status_code, answer.headers["Range"]) == (202, model.range)

    @rule(model=sessions, data=chunks, by=st.sampled_from((-7, -1, 1, 5, 10**6)))
    def append_elsewhere(self, model: Model, data: bytes, by: int) -> None:
        """A chunk that does not begin where the session stands: 416 with where it does, and nothing changes."""
        start = max(0, len(model.content or b"") + by)
        if model.content is None or start == len(model.content):
            return
        headers = {"Content-Range": f"{start}-{start + len(data) - 1}"}
        answer = self.ask("PATCH", model.path, content=data, headers=headers)
        assert (answer.status_code, answer.headers["Range"]) == (416, model.range)

    @rule(model=sessions, data=chunks)
    def append_more_than_announced(self, model: Model, data: bytes) -> None:
        """Told by the head alone, nothing changes."""
        start = len(model.content or b"")
        headers = {"Content-Range": f"{start}-{start + len(data)}"}
        answer = self.ask("PATCH", model.path, content=data, headers=headers)
        assert answer.status_code == (404 if model.content is None else 400)

    @rule(model=sessions)
    def look(self, model: Model) -> None:
        answer = self.ask("GET", model.path)
        if model.content is None:
            assert answer.status_code == 404
        else:
            assert (answer.status_code, answer.headers["Range"]) == (204, model.range)

    @rule(model=sessions, data=chunks, method=st.sampled_from(("GET", "PATCH", "PUT", "DELETE")))
    def from_another_repository(self, model: Model, data: bytes, method: str) -> None:
        """A session belongs to its repository: elsewhere there is none."""
        path = model.path.replace("/uploads/blobs/", "/w0/blobs/")
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        answer = self.ask(method, path, content=data, params={"digest": digest} if method == "PUT" else {})
        assert answer.status_code == 404

    @rule(
        model=consumes(sessions), data=st.just(b"") | chunks, algorithm=st.sampled_from(("sha256", "sha512"))
    )
    def finish(self, model: Model, data: bytes, algorithm: str) -> None:
        self._finish(model, data, algorithm)

    def _finish(self, model: Model, data: bytes, algorithm: str) -> None:
        """With the rest of the bytes, or none: the blob is what was sent, in order."""
        whole = (model.content or b"") + data
        digest = f"{algorithm}:{hashlib.new(algorithm, whole).hexdigest()}"
        answer = self.ask("PUT", model.path, params={"digest": digest}, content=data)
        if model.content is None:
            assert answer.status_code == 404
            return
        assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest), answer.text
        assert self.ask("GET", f"/{self.name}/blobs/{digest}").content == whole
        model.content = None
        type(self).finished += 1

    @rule(model=sessions, data=st.just(b"") | chunks)
    def finish_as_something_else(self, model: Model, data: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(b'another' + (model.content or b'') + data).hexdigest()}"
        answer = self.ask("PUT", model.path, params={"digest": digest}, content=data)
        assert answer.status_code == (404 if model.content is None else 400)
        assert self.ask("HEAD", f"/{self.name}/blobs/{digest}").status_code == 404
        model.content = None

    @rule(model=sessions)
    def cancel(self, model: Model) -> None:
        answer = self.ask("DELETE", model.path)
        assert answer.status_code == (404 if model.content is None else 204)
        model.content = None

    @rule(model=sessions, data=chunks, announced=st.integers(1, 5000))
    def leave_amid_a_chunk(self, model: Model, data: bytes, announced: int) -> None:
        """What arrived is kept, or a beginning of it; the client asks where to go on."""
        if model.content is None:
            return
        length = str(len(data) + announced)
        server = self.world.server
        with server.unfinished("PATCH", f"/v2{model.path}", self.world.robot, data, Content_Length=length):
            _offset_when(
                server, model.path, "IS NOT NULL"
            )  # else nobody writes yet, as nobody does afterwards
        type(self).requests += 1
        type(self).aborted += 1
        offset = _offset_when(server, model.path, "IS NULL")
        assert len(model.content) <= offset <= len(model.content) + len(data)
        model.content = (model.content + data)[:offset]

    @invariant()
    def every_session_is_where_the_model_is(self) -> None:
        for model in self.known[-3:]:
            answer = self.ask("GET", model.path)
            assert answer.status_code == (404 if model.content is None else 204)
            assert answer.headers.get("Range", model.range) == model.range

    def teardown(self) -> None:
        """What was left open ends too, by turns as a blob and without one."""
        for number, model in enumerate(m for m in self.known if m.content is not None):
            if number % 2:
                self.ask("DELETE", model.path)
            else:
                self._finish(model, b"", "sha256")


def _client(world: World) -> httpx.Client:
    token = world.names[b"uploads"].decode().removeprefix("Bearer ")
    if "uploads" not in _clients:
        _clients["uploads"] = world.server.client(token=token)
    return _clients["uploads"]


_clients: dict[str, httpx.Client] = {}


def _offset_when(server: Server, path: str, writer: str) -> int:
    """The session's offset once its writer is so; a request that was left must come to its end by itself."""
    sql = f'SELECT "offset" FROM registry_core_upload WHERE id = %s AND writer {writer}'  # noqa: S608
    return int(server.eventually(sql, path.rpartition("/")[2])[0][0])


def test_sessions_do_what_the_specification_says(world: World, report: Report) -> None:
    _clients.clear()
    Uploads.world, Uploads.requests, Uploads.finished, Uploads.aborted = world, 0, 0, 0
    name = f"{world.project}/uploads"
    scopes = [f"repository:{n}:pull,push,delete" for n in (name, f"{world.project}/w0")]
    world.names[b"uploads"] = b"Bearer " + world.server.token(world.robot, *scopes).encode()
    run_state_machine_as_test(
        seed(SEED)(Uploads),
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
        ),
    )  # fmt: skip
    report(
        f"seed {SEED}: {EXAMPLES} lives of up to {STEPS} steps, {Uploads.requests} requests, "
        f"{Uploads.finished} blobs finished, {Uploads.aborted} connections cut amid a chunk"
    )
    assert Uploads.requests >= 1000
    assert Uploads.finished >= 50
    assert Uploads.aborted >= 10
