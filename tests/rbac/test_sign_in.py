"""Names with secrets on the REST side: who is let in, who waits, and what it costs (contract 1.4; design 5)."""

from __future__ import annotations

import base64
import re
import statistics
import threading
import time
from types import SimpleNamespace

import pytest
from django.utils import timezone

from projects.models import Project
from rbac import actions, robots
from rbac.authn import local, lockout, robot
from rbac.models import Robot, User
from rbac.permissions import Identity
from registry_core import configuration, errors
from tests.builders import ADMIN, PASSWORD, Person, make_person, make_robot
from tests.rbac.asking import identify

pytestmark = pytest.mark.django_db

HOME, ELSEWHERE = "192.0.2.10", "198.51.100.7"


def header(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def sign_in(name: str, secret: str, address: str = HOME) -> Identity:
    return identify(header(name, secret), address)


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lockout, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


# -- users


def test_a_user_signs_in_by_name_and_by_email(bob: Person) -> None:
    for name in ("bob", "bob@example.org"):
        identity = sign_in(name, PASSWORD)
        assert (identity.principal.name, identity.principal.kind, identity.address) == ("bob", "user", HOME)
        assert not identity.principal.is_admin


def test_admin_is_an_administrator() -> None:
    from tests.components.postgres import ADMIN_PASSWORD

    assert sign_in("admin", ADMIN_PASSWORD).principal.is_admin


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("bob", "Passw0rd-1y"),
        ("BOB", PASSWORD),
        ("bob", ""),
        ("bob ", PASSWORD),
        ("nobody", PASSWORD),
        ("", PASSWORD),
    ],
)
def test_anything_else_is_anonymous(bob: Person, name: str, secret: str) -> None:
    assert sign_in(name, secret).is_anonymous


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic !!!", "Basic " + base64.b64encode(b"nocolon").decode(), "Basic \u00e4", "Digest x",
     "Basic " + base64.b64encode(b"b\x00b:x").decode(), "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
     "Bearer eyJ.eyJ.x"],
)  # fmt: skip
def test_what_is_no_basic_header_is_anonymous(authorization: str) -> None:
    assert identify(authorization, HOME).is_anonymous


def test_the_deleted_user_anonymous_cannot_sign_in() -> None:
    assert sign_in("anonymous", "").is_anonymous


def test_a_deleted_user_cannot_sign_in_and_the_name_is_free(bob: Person) -> None:
    assert bob.user
    actions.delete_user(ADMIN, bob.user)
    assert sign_in("bob", PASSWORD).is_anonymous
    assert User.objects.get(pk=bob.user.pk).username == f"bob#{bob.user.pk}"
    assert sign_in(f"bob#{bob.user.pk}", PASSWORD).is_anonymous
    make_person("bob")
    assert not sign_in("bob", PASSWORD, ELSEWHERE).is_anonymous


def test_passwords_are_argon2id_of_the_agreed_cost(bob: Person) -> None:
    assert bob.user
    encoded = User.objects.get(pk=bob.user.pk).password
    assert re.match(r"argon2\$argon2id\$v=19\$m=19456,t=2,p=1\$", encoded)


def test_a_new_password_ends_the_old_one_at_once(bob: Person) -> None:
    assert bob.user
    assert not sign_in("bob", PASSWORD).is_anonymous
    actions.change_password(ADMIN, bob.user, "Another-1x")
    assert sign_in("bob", PASSWORD).is_anonymous
    assert not sign_in("bob", "Another-1x", ELSEWHERE).is_anonymous


def test_ones_own_password_needs_the_old_one(bob: Person) -> None:
    assert bob.user
    for old in ("", "Wrong-1x"):
        with pytest.raises(errors.Forbidden, match="Current password is incorrect"):
            actions.change_password(bob.identity, bob.user, "Another-1x", old=old)
    with pytest.raises(errors.BadRequest, match="identical"):
        actions.change_password(bob.identity, bob.user, PASSWORD, old=PASSWORD)
    actions.change_password(bob.identity, bob.user, "Another-1x", old=PASSWORD)


# Contract 7: 8 to 128 bytes with an upper-case letter, a lower-case letter and a digit.
@pytest.mark.parametrize(
    ("secret", "is_good"),
    [("Passw0r", False), ("Passw0rd", True), ("passw0rd", False), ("PASSW0RD", False), ("Password", False), ("", False),
     ("Aa1" + "x" * 125, True), ("Aa1" + "x" * 126, False), ("Pässw0rd", True), ("Aa1" + "ä" * 63, False),
     ("Aa1xxxx\ud800", False)],
)  # fmt: skip
def test_the_rule_for_secrets(secret: str, is_good: bool) -> None:
    assert local.is_acceptable(secret) is is_good


# -- what it costs


def test_a_good_password_is_computed_once_a_minute(bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = count_computations(monkeypatch)
    for _ in range(5):
        assert not sign_in("bob", PASSWORD).is_anonymous
    assert len(computed) == 1


def test_the_kept_answer_holds_for_no_other_secret(bob: Person) -> None:
    assert not sign_in("bob", PASSWORD).is_anonymous
    assert sign_in("bob", PASSWORD + "x").is_anonymous


def test_an_unknown_name_takes_as_long_as_a_known_one(bob: Person) -> None:
    def seconds(name: str, i: int) -> float:
        began = time.thread_time()
        assert sign_in(name, "Wrong-1x", f"203.0.113.{i}").is_anonymous
        return time.thread_time() - began

    known = statistics.median(seconds("bob", i) for i in range(7))
    unknown = statistics.median(seconds("nobody", i) for i in range(7))
    assert 0.5 < known / unknown < 2


def test_two_passwords_are_computed_at_once_and_not_more(
    bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most = 0, 0
    guard = threading.Lock()
    real = local._hasher.verify

    def watched(secret: str, encoded: str) -> bool:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        try:
            return real(secret, encoded)
        finally:
            with guard:
                running -= 1

    monkeypatch.setattr(local._hasher, "verify", watched)
    encoded = local.hash_secret(PASSWORD)
    guesses = [
        threading.Thread(target=local.check, args=(f"u{i}", "Wrong-1x", [encoded], HOME)) for i in range(8)
    ]
    for guess in guesses:
        guess.start()
    for guess in guesses:
        guess.join()
    assert most == 2


# -- lock-out


def count_computations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    computed: list[str] = []
    real = local._hasher.verify

    def counted(secret: str, encoded: str) -> bool:
        computed.append(secret)
        return real(secret, encoded)

    monkeypatch.setattr(local._hasher, "verify", counted)
    return computed


def test_after_a_failure_the_right_password_waits(bob: Person, clock: Clock) -> None:
    sign_in("bob", "Wrong-1x")
    assert sign_in("bob", PASSWORD).is_anonymous
    clock.now += 1.49
    assert sign_in("bob", PASSWORD).is_anonymous
    clock.now += 0.02
    assert not sign_in("bob", PASSWORD).is_anonymous


def test_the_answer_comes_at_once_and_nothing_is_computed(
    bob: Person, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in("bob", "Wrong-1x")
    computed = count_computations(monkeypatch)
    began = time.monotonic()
    for i in range(50):
        sign_in("bob", f"Wrong-{i}")
    assert not computed
    assert time.monotonic() - began < 0.5


def test_the_right_password_works_from_elsewhere(bob: Person, clock: Clock) -> None:
    sign_in("bob", "Wrong-1x")
    assert not sign_in("bob", PASSWORD, ELSEWHERE).is_anonymous


def test_other_names_are_not_locked(bob: Person, alice: Person, clock: Clock) -> None:
    sign_in("bob", "Wrong-1x")
    assert not sign_in("alice", PASSWORD).is_anonymous


def test_each_failure_doubles_the_wait_up_to_a_minute(bob: Person, clock: Clock) -> None:
    waits = []
    for _ in range(8):
        sign_in("bob", "Wrong-1x")
        began = clock.now
        while lockout.is_locked("bob", HOME):
            clock.now += 0.25
        waits.append(clock.now - began)
    assert waits == [1.5, 3.0, 6.0, 12.0, 24.0, 48.0, 60.0, 60.0]


def test_a_success_starts_from_the_beginning(bob: Person, clock: Clock) -> None:
    for _ in range(4):
        sign_in("bob", "Wrong-1x")
        clock.now += 61
    assert not sign_in("bob", PASSWORD).is_anonymous
    sign_in("bob", "Wrong-1x")
    clock.now += 1.6
    assert not sign_in("bob", PASSWORD).is_anonymous


def test_a_quarter_of_an_hour_is_forgotten(bob: Person, clock: Clock) -> None:
    for _ in range(4):
        sign_in("bob", "Wrong-1x")
        clock.now += 61
    clock.now += 901
    sign_in("bob", "Wrong-1x")
    clock.now += 1.6
    assert not lockout.is_locked("bob", HOME)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [("2001:db8::1", "2001:db8::ffff", True), ("2001:db8::1", "2001:db8:0:1::1", False),
     ("::ffff:192.0.2.10", "192.0.2.10", True), ("192.0.2.10", "192.0.2.11", False), ("", "", True)],
)  # fmt: skip
def test_a_source_network(clock: Clock, first: str, second: str, same: bool) -> None:
    lockout.record_failure("bob", first)
    assert lockout.is_locked("bob", second) is same


def test_waiting_guesses_share_the_first_failure(bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = count_computations(monkeypatch)
    guesses = [
        threading.Thread(target=local.check, args=("bob", f"Wrong-{i}", [local._NOBODY], HOME))
        for i in range(12)
    ]
    for guess in guesses:
        guess.start()
    for guess in guesses:
        guess.join()
    assert len(computed) <= local.AT_ONCE


# -- robots


def test_a_robot_signs_in_under_its_full_name(library: Project) -> None:
    bot = make_robot(("library", ["repository:pull"]))
    assert bot.name.startswith("robot$library+bot-")
    identity = sign_in(bot.name, bot.secret)
    assert (identity.principal.kind, identity.principal.name) == ("robot", bot.name)
    assert sign_in(bot.name.removeprefix("robot$"), bot.secret).is_anonymous


def test_a_generated_secret_is_random_and_stored_as_a_hash(library: Project) -> None:
    bot = make_robot(("library", ["repository:pull"]))
    assert re.fullmatch(r"[A-Za-z0-9]{32}", bot.secret)  # 190 bits
    assert bot.robot
    row = Robot.objects.get(pk=bot.robot.pk)
    assert row.secret_hash.startswith("sha256$")
    assert bot.secret not in row.secret_hash
    assert len({robot.new_secret() for _ in range(50)}) == 50


def test_a_wrong_robot_secret_is_refused_without_locking(library: Project) -> None:
    bot = make_robot(("library", ["repository:pull"]))
    for _ in range(3):
        assert sign_in(bot.name, "Wrong-1x").is_anonymous
    assert not sign_in(bot.name, bot.secret).is_anonymous
    assert sign_in("robot$absent", bot.secret).is_anonymous


def test_a_chosen_robot_secret_is_a_password(library: Project) -> None:
    bot = make_robot(("library", ["repository:pull"]))
    assert bot.robot
    robots.renew_secret(ADMIN, bot.robot, "Chosen-Secret-1")
    assert Robot.objects.get(pk=bot.robot.pk).secret_hash.startswith("argon2$")
    assert sign_in(bot.name, bot.secret).is_anonymous
    assert sign_in(bot.name, "Chosen-Secret-1").is_anonymous  # the failure before locks the name out here
    assert not sign_in(bot.name, "Chosen-Secret-1", ELSEWHERE).is_anonymous


def test_two_secrets_live_while_one_is_rotated(library: Project) -> None:
    bot = make_robot(("library", ["repository:pull"]))
    assert bot.robot
    new = robots.renew_secret(ADMIN, bot.robot, keep_old=True)
    assert not sign_in(bot.name, bot.secret).is_anonymous
    assert not sign_in(bot.name, new).is_anonymous
    bot.robot.refresh_from_db()
    robots.renew_secret(ADMIN, bot.robot)
    assert sign_in(bot.name, bot.secret).is_anonymous
    assert sign_in(bot.name, new).is_anonymous


@pytest.mark.parametrize("change", [{"disable": True}, {"expires_at": 1_000_000_000}])
def test_a_disabled_or_expired_robot_is_nobody(library: Project, change: dict[str, object]) -> None:
    bot = make_robot(("library", ["repository:pull"]))
    assert bot.robot
    Robot.objects.filter(pk=bot.robot.pk).update(**change)
    assert sign_in(bot.name, bot.secret).is_anonymous


def test_expiry_counts_days_from_creation(library: Project) -> None:
    bot = make_robot(("library", ["repository:pull"]), duration=30)
    assert bot.robot
    assert abs(bot.robot.expires_at - (timezone.now().timestamp() + 30 * 86400)) < 60


def test_the_prefix_of_robots_is_a_setting(library: Project) -> None:
    bot = make_robot(("library", ["repository:pull"]))
    configuration.set_values({"robot_name_prefix": "bot-of-"})
    assert sign_in(bot.name, bot.secret).is_anonymous
    renamed = "bot-of-" + bot.name.removeprefix("robot$")
    assert sign_in(renamed, bot.secret, ELSEWHERE).principal.name == renamed


# -- networks


def test_a_credential_works_from_its_networks_only(bob: Person, library: Project) -> None:
    assert bob.user
    User.objects.filter(pk=bob.user.pk).update(networks=["192.0.2.0/24", "2001:db8::/32"])
    assert not sign_in("bob", PASSWORD, "192.0.2.200").is_anonymous
    assert not sign_in("bob", PASSWORD, "2001:db8::5").is_anonymous
    assert not sign_in("bob", PASSWORD, "::ffff:192.0.2.4").is_anonymous
    for address in ("192.0.3.1", "2001:db9::1", "", "nonsense"):
        assert sign_in("bob", PASSWORD, address).is_anonymous
