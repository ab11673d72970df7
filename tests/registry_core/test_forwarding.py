"""Audit rows reach a syslog server at least once, whatever happens in between (RFC 5424; contract 6.9)."""

from __future__ import annotations

import datetime
import re
import socket
import threading
from collections.abc import Iterator

import pytest
from django.db import connection

from registry_core import audit, configuration, errors, forwarding, syslog
from registry_core.models import AuditForward, Setting
from tests.collectors import Collector
from tests.components import process

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGE = re.compile(r"<(\d+)>1 (\S+) (\S+) breakwater - (\S+) \[audit@32473 (.*)\] (.*)", re.DOTALL)


@pytest.fixture(autouse=True)
def read_anew() -> Iterator[None]:
    configuration._kept = None
    yield
    configuration._kept = None


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def forward_to(endpoint: str) -> None:
    """Set once, while it could be reached."""
    Setting.objects.update_or_create(name="audit_log_forward_endpoint", defaults={"value": endpoint})
    configuration._kept = None


def parts(text: str) -> tuple[str, ...]:
    found = MESSAGE.fullmatch(text)
    assert found is not None, text
    return found.groups()


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "tcp://127.0.0.1:{}"])
def test_rows_arrive_over_tcp_in_order_and_leave_the_queue(collector: Collector, form: str) -> None:
    forward_to(form.format(collector.port))
    for number in range(3):
        audit.record("alice", "create", "project", f"p{number}", address="192.0.2.1")
    audit.record("bob", "login", "user", "bob", "login", succeeded=False)
    assert forwarding.forward() == 4
    assert not AuditForward.objects.exists()
    priority, at, host, event, data, text = parts(collector.messages[0])
    assert (priority, host, event, text) == ("110", "127.0.0.1", "create_project", "create project: p0")
    moment = datetime.datetime.fromisoformat(at)
    assert abs(datetime.datetime.now(datetime.UTC) - moment) < datetime.timedelta(minutes=5)
    assert data == (
        'username="alice" operation="create" resource_type="project" resource="p0" result="success" address="192.0.2.1"'
    )
    assert [parts(message)[5] for message in collector.messages] == [
        "create project: p0", "create project: p1", "create project: p2", "login",
    ]  # fmt: skip
    assert parts(collector.messages[3])[0] == "108"
    assert 'result="failure"' in parts(collector.messages[3])[4]


def test_rows_arrive_over_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        forward_to(f"udp://127.0.0.1:{listener.getsockname()[1]}")
        audit.record("alice", "delete", "tag", "p/a:v1")
        audit.record("alice", "delete", "tag", "x" * 5000)
        assert forwarding.forward() == 2
        assert parts(listener.recv(65536).decode())[5] == "delete tag: p/a:v1"
        assert len(listener.recv(65536)) == syslog.MAX_DATAGRAM
    assert not AuditForward.objects.exists()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_rows_wait_while_the_server_is_away(kind: str) -> None:
    port = process.free_port()
    forward_to(f"{kind}://127.0.0.1:{port}")
    audit.record("alice", "create", "project", "p")
    for _ in range(2):
        with pytest.raises(OSError, match=r"(?i)refused|listens"):
            forwarding.forward()
    assert AuditForward.objects.count() == 1
    if kind == "tcp":
        collector = Collector(port)
        assert forwarding.forward() == 1
        assert [parts(m)[5] for m in collector.messages] == ["create project: p"]
        collector.close()


def test_a_server_that_breaks_off_gets_them_again(collector: Collector) -> None:
    """It resets the connection instead of reading."""
    listener = socket.create_server(("127.0.0.1", 0))

    def reset() -> None:
        broken, _ = listener.accept()
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        broken.close()

    thread = threading.Thread(target=reset)
    thread.start()
    forward_to(f"127.0.0.1:{listener.getsockname()[1]}")
    audit.record("alice", "create", "project", "p" * 100_000)
    with pytest.raises(ConnectionError):
        forwarding.forward()
    thread.join()
    listener.close()
    assert AuditForward.objects.count() == 1
    forward_to(f"127.0.0.1:{collector.port}")
    assert forwarding.forward() == 1
    assert len(collector.messages) == 1


def test_a_crash_before_the_commit_sends_them_again(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward_to(f"127.0.0.1:{collector.port}")
    audit.record("alice", "create", "project", "p")
    send = syslog.send

    def send_and_die(*given: object) -> None:
        send(*given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(syslog, "send", send_and_die)
    with pytest.raises(KeyboardInterrupt):
        forwarding.forward()
    monkeypatch.undo()
    assert forwarding.forward() == 1
    assert [parts(m)[5] for m in collector.messages] == ["create project: p"] * 2


def test_hostile_names_stay_inside_their_field(collector: Collector) -> None:
    forward_to(f"127.0.0.1:{collector.port}")
    audit.record('x" y="1"] \\', "create", "label", "two\r\nlines\0"[:10], "three\nlines <14>1 -")
    assert forwarding.forward() == 1
    (message,) = collector.messages
    assert "\n" not in message
    data, text = parts(message)[4:]
    assert data.startswith(r'username="x\" y=\"1\"\] \\" operation="create"')
    assert 'resource="two  lines"' in data
    assert text == "three lines <14>1 -"


def test_nothing_waits_once_nobody_wants_it(collector: Collector) -> None:
    forward_to(f"127.0.0.1:{collector.port}")
    audit.record("alice", "create", "project", "p")
    forward_to("")
    assert forwarding.forward() == 0
    assert not AuditForward.objects.exists()
    assert collector.received == b""


def test_what_waited_too_long_is_given_up(collector: Collector) -> None:
    forward_to(f"127.0.0.1:{collector.port}")
    audit.record("alice", "create", "project", "old")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE registry_core_auditforward SET occurred_at = now() - interval '31 days'")
    audit.record("alice", "create", "project", "new")
    assert forwarding.forward() == 1
    assert [parts(m)[5] for m in collector.messages] == ["create project: new"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("logs.example:514", ("logs.example", 514, True)), ("tcp://10.0.0.1:6514", ("10.0.0.1", 6514, True)),
     ("udp://[::1]:514", ("::1", 514, False))],
)  # fmt: skip
def test_forms_of_an_endpoint(text: str, expected: tuple[str, int, bool]) -> None:
    assert syslog.parse_endpoint(text) == expected


@pytest.mark.parametrize(
    "text", ["", "logs.example", "http://logs.example:514", "tcp://u:p@h:1", "h:0", "h:99999", "h:x", "udp://h:1/x"]
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        syslog.parse_endpoint(text)


def test_an_endpoint_can_be_tried(collector: Collector) -> None:
    configuration.set_values({"audit_log_forward_endpoint": f"127.0.0.1:{collector.port}"})
    for text in (f"127.0.0.1:{process.free_port()}", "udp://no-such-host.invalid:514", "http://127.0.0.1:1"):
        with pytest.raises(errors.BadRequest, match="must be"):
            configuration.set_values({"audit_log_forward_endpoint": text})
    configuration.set_values({"audit_log_forward_endpoint": ""})
