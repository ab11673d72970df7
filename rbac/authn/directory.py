"""LDAP directories: who somebody is, which groups they are in (contract 5, 7, items `ldap_*`).

django-auth-ldap finds and binds people, and follows nested groups; what it is told comes from the settings, which may
change at any time. It and python-ldap are loaded on first use, and are not on every machine.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from registry_core import configuration, errors

MAX_FOUND = 1000
MAX_GROUPS = 1000
MAX_SECONDS = 30
_ID_ATTRIBUTES = ("entryuuid", "objectguid")


class BadCredentials(Exception):
    """The directory knows the one who asks, and not by this password."""


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    dn: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A person as the directory shows them; `subject` stays when they are renamed or moved."""

    subject: str
    dn: str
    username: str
    realname: str
    email: str
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """`name` tells directories apart; the one of Harbor's settings is `ldap`."""

    values: Mapping[str, Any]
    name: str = "ldap"

    @classmethod
    def configured(cls) -> Directory:
        every = configuration.get_all()
        return cls({name: value for name, value in every.items() if name.startswith("ldap_")})

    # -- people

    def verify(self, username: str, password: str) -> Entry | None:
        """The person whose name and password these are. Unavailable when the directory does not answer."""
        if not username or not password:
            return None  # an empty password binds as anybody
        self._check_url()
        _ldap()
        from rbac.authn.ldap_backend import Backend

        wanted = self._wanted("\0").replace("%", "%%").replace("\0", "%(user)s")
        backend = Backend(self.values, wanted, self._attributes, dict(self._options()))
        with _translated():
            user = backend.authenticate(None, username=username, password=password)
        if user is None:
            return None
        found = {name.lower(): values for name, values in user.ldap_user.attrs.items()}
        entry = _entry(user.ldap_user.dn, found, self.values["ldap_uid"].lower())
        with self.connected() as connection:
            return self._with_groups(connection, entry) if entry else None

    def find(self, username: str) -> Entry | None:
        """The one person of that name, whatever its case."""
        with self.connected() as connection:
            found = self._find(connection, username) if username else None
            return self._with_groups(connection, found) if found else None

    def search(self, username: str = "") -> list[Entry]:
        """Those of that name; without one everybody."""
        with self.connected() as connection:
            return self._search(connection, username)

    def _find(self, connection: Any, username: str) -> Entry | None:
        found = self._search(connection, username)
        return found[0] if len(found) == 1 else None  # two of one name are nobody

    def _search(self, connection: Any, username: str) -> list[Entry]:
        wanted = self._wanted(_escaped(username) if username else "*")
        base, scope = self.values["ldap_base_dn"], self.values["ldap_scope"]
        rows = _searched(connection, base, scope, wanted, self._attributes)
        entries = (_entry(dn, found, self.values["ldap_uid"].lower()) for dn, found in rows)
        return [entry for entry in entries if entry is not None]

    def _wanted(self, name: str) -> str:
        return _both(f"({self.values['ldap_uid']}={name})", self.values["ldap_filter"])

    @property
    def _attributes(self) -> list[str]:
        return [self.values["ldap_uid"], "cn", "mail", "email", *_ID_ATTRIBUTES]

    # -- groups

    def find_group(self, dn: str) -> Group | None:
        """The group of this DN, if it is one of those that count."""
        with self.connected() as connection:
            return self._group(connection, dn)

    def search_groups(self, name: str) -> list[Group]:
        """Those of exactly this name, in any case."""
        with self.connected() as connection:
            return self._groups(connection, f"({self._group_name}={_escaped(name)})") if name else []

    def _with_groups(self, connection: Any, entry: Entry) -> Entry:
        """By what the person's entry says, by what the groups say, and by groups in groups."""
        found: dict[str, Group] = {}
        new = [self._group(connection, dn) for dn in self._said(connection, entry.dn)[:MAX_GROUPS]]
        members = [f"(member={_escaped(entry.dn)})", f"(uniquemember={_escaped(entry.dn)})",
                   f"(memberuid={_escaped(entry.username)})"]  # fmt: skip
        new += self._groups(connection, f"(|{''.join(members)})")
        while new and len(found) < MAX_GROUPS:
            fresh = {group.dn.lower(): group for group in new if group and group.dn.lower() not in found}
            found |= fresh
            inner = "".join(f"(member={_escaped(g.dn)})(uniquemember={_escaped(g.dn)})" for g in fresh.values())
            new = [*self._groups(connection, f"(|{inner})")] if fresh else []
        return Entry(
            entry.subject, entry.dn, entry.username, entry.realname, entry.email, tuple(found.values())
        )

    def _said(self, connection: Any, dn: str) -> list[str]:
        attribute = self.values["ldap_group_membership_attribute"]
        if not attribute:
            return []
        rows = _searched(connection, dn, 0, "(objectClass=*)", [attribute])
        return [text for _, found in rows for text in found.get(attribute.lower(), ())]

    def _group(self, connection: Any, dn: str) -> Group | None:
        base = self.values["ldap_group_base_dn"]
        if base and not dn.lower().replace(" ", "").endswith(base.lower().replace(" ", "")):
            return None
        try:
            rows = _searched(connection, dn, 0, self._group_filter, [self._group_name])
        except (errors.NotFound, errors.BadRequest):
            return None
        return next(iter(self._named(rows)), None)

    def _groups(self, connection: Any, wanted: str) -> list[Group]:
        base = self.values["ldap_group_base_dn"] or self.values["ldap_base_dn"]
        scope = self.values["ldap_group_search_scope"]
        rows = _searched(connection, base, scope, _both(wanted, self._group_filter), [self._group_name])
        return self._named(rows)

    def _named(self, rows: list[tuple[str, dict[str, list[str]]]]) -> list[Group]:
        name = self._group_name.lower()
        return [Group(found[name][0], dn) for dn, found in rows if found.get(name)]

    @property
    def _group_name(self) -> str:
        return str(self.values["ldap_group_attribute_name"] or "cn")

    @property
    def _group_filter(self) -> str:
        return str(self.values["ldap_group_search_filter"] or "(objectClass=*)")

    # -- connections

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        """Bound as the one who searches. BadCredentials; Unavailable when nobody answers, or not in time."""
        with self._opened() as connection:
            dn, password = self.values["ldap_search_dn"], self.values["ldap_search_password"]
            if not dn:
                connection.simple_bind_s("", "")  # as nobody: it connects all the same
            elif not _binds(connection, dn, password):
                raise BadCredentials
            yield connection

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        self._check_url()
        ldap, url = _ldap(), self.values["ldap_url"]
        with _translated():
            connection = ldap.initialize(url, bytes_mode=False)
            connection.protocol_version = 3
            for option, value in self._options():
                connection.set_option(option, value)
            try:
                if self.values["ldap_start_tls"] and url.startswith("ldap://"):
                    connection.start_tls_s()
                yield connection
            finally:
                with contextlib.suppress(ldap.LDAPError):
                    connection.unbind_s()

    def _check_url(self) -> None:
        if not self.values["ldap_url"].startswith(("ldap://", "ldaps://")):
            raise errors.BadRequest("ldap_url must begin with ldap:// or ldaps://")

    def _options(self) -> Iterator[tuple[int, Any]]:
        ldap, seconds = _ldap(), max(1, min(int(self.values["ldap_timeout"]), MAX_SECONDS))
        yield ldap.OPT_NETWORK_TIMEOUT, seconds
        yield ldap.OPT_TIMEOUT, seconds
        yield ldap.OPT_REFERRALS, 0  # nobody else is asked, least of all with this password
        verify = ldap.OPT_X_TLS_DEMAND if self.values["ldap_verify_cert"] else ldap.OPT_X_TLS_NEVER
        yield ldap.OPT_X_TLS_REQUIRE_CERT, verify
        if pem := self.values["ldap_ca_certificate"]:
            yield ldap.OPT_X_TLS_CACERTFILE, _as_file(pem)
        yield ldap.OPT_X_TLS_NEWCTX, 0  # last: from here on the options above hold


def _binds(connection: Any, dn: str, password: str) -> bool:
    if not password:
        return False
    try:
        with _translated():
            connection.simple_bind_s(dn, password)
    except BadCredentials:
        return False
    return True


def _searched(
    connection: Any, base: str, scope: int, wanted: str, attributes: list[str]
) -> list[tuple[str, dict[str, list[str]]]]:
    """DN and attributes by lower-case name of what was found, MAX_FOUND at most."""
    ldap = _ldap()
    try:
        with _translated():
            rows = connection.search_ext_s(base, scope, wanted, attributes, sizelimit=MAX_FOUND)
    except ldap.SIZELIMIT_EXCEEDED:
        raise errors.BadRequest(f"more than {MAX_FOUND} entries match", {"limit": MAX_FOUND}) from None
    return [(dn, {k.lower(): _texts(v) for k, v in found.items()}) for dn, found in rows if dn]


def _texts(values: list[bytes]) -> list[str]:
    return [value.decode(errors="backslashreplace") for value in values]


def _entry(dn: str, found: Mapping[str, list[str]], uid: str) -> Entry | None:
    if not found.get(uid):
        return None

    def first(*names: str) -> str:
        return next((found[name][0] for name in names if found.get(name)), "")

    return Entry(first(*_ID_ATTRIBUTES) or dn.lower(), dn, first(uid), first("cn"), first("mail", "email"))


def _both(wanted: str, own: str) -> str:
    own = own.strip()
    if not own:
        return wanted
    return f"(&{wanted}{own if own.startswith('(') else f'({own})'})"


def _escaped(text: str) -> str:
    from ldap.filter import escape_filter_chars

    return str(escape_filter_chars(text))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    ldap = _ldap()
    try:
        yield
    except (ldap.INVALID_CREDENTIALS, ldap.UNWILLING_TO_PERFORM, ldap.INAPPROPRIATE_AUTH):
        raise BadCredentials from None
    except (ldap.SERVER_DOWN, ldap.CONNECT_ERROR, ldap.TIMEOUT, ldap.UNAVAILABLE, ldap.BUSY) as e:
        raise errors.Unavailable(f"the LDAP server does not answer: {e}", {"component": "ldap"}) from e
    except (ldap.NO_SUCH_OBJECT, ldap.INVALID_DN_SYNTAX) as e:
        raise errors.NotFound(f"the directory has no such entry: {e}") from e
    except ldap.FILTER_ERROR as e:
        raise errors.BadRequest(f"the LDAP filter does not parse: {e}") from e


@functools.cache
def _ldap() -> Any:
    try:
        import django_auth_ldap  # noqa: F401
        import ldap
    except ImportError:
        raise errors.Precondition(
            "python-ldap is not installed here",
            {"fix": "install libldap2-dev, libsasl2-dev, gcc and the extra `ldap`", "who": "who runs this registry"},
        ) from None
    return ldap


def _as_file(pem: str) -> str:
    """libldap reads certificates from files only."""
    path = pathlib.Path(settings.RUN_DIR) / f"ldap-ca-{hashlib.sha256(pem.encode()).hexdigest()[:16]}.pem"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(pem)
        draft.replace(path)
    return str(path)
