"""OpenLDAP's slapd with people, groups and groups in groups; an overlay keeps memberOf; STARTTLS and ldaps.

    uid=alice,ou=people   in dev and admins (memberOf)          password Passw0rd-alice, and so on
    uid=bob,ou=people     in dev
    uid=carol,ou=people   in the group `empty team` only
    uid=odd*(name),…      whose name must be escaped
    dev is in all, all and loop are in each other, and `posix` holds bob by memberUid
"""

from __future__ import annotations

import datetime
import ipaddress
import pathlib
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.components import process
from tests.components.availability import require, require_program

BASE = "dc=example,dc=org"
ROOT_DN, ROOT_PASSWORD = f"cn=admin,{BASE}", "ldap-pass-1"
PEOPLE = {"alice": "Alice A", "bob": "Bob B", "carol": "Carol C", "odd*(name)": "Odd Name"}
GROUPS = {"dev": ["uid=alice,ou=people", "uid=bob,ou=people"], "admins": ["uid=alice,ou=people"],
          "empty team": ["uid=carol,ou=people"],
          "all": ["cn=dev,ou=groups", "cn=loop,ou=groups"], "loop": ["cn=all,ou=groups"]}  # fmt: skip

_LOOPBACK = ipaddress.ip_address("127.0.0.1")


class Slapd:
    def __init__(self, directory: pathlib.Path, port: int, tls_port: int) -> None:
        self.directory, self.port = directory, port
        self.url, self.tls_url = f"ldap://127.0.0.1:{port}", f"ldaps://127.0.0.1:{tls_port}"
        self.pid = 0

    @property
    def settings(self) -> dict[str, Any]:
        """Of the contract's scene `ldap_sign_in`."""
        return {
            "ldap_url": self.url, "ldap_base_dn": f"ou=people,{BASE}", "ldap_search_dn": ROOT_DN,
            "ldap_search_password": ROOT_PASSWORD, "ldap_uid": "uid", "ldap_filter": "(objectClass=inetOrgPerson)",
            "ldap_scope": 2, "ldap_verify_cert": False, "ldap_group_base_dn": f"ou=groups,{BASE}",
            "ldap_group_attribute_name": "cn", "ldap_group_search_filter": "(objectClass=groupOfNames)",
            "ldap_group_search_scope": 2, "ldap_group_membership_attribute": "memberof", "ldap_group_admin_dn": "",
        }  # fmt: skip

    @property
    def ca(self) -> str:
        return (self.directory / "cert.pem").read_text()

    def start(self) -> None:
        program = require_program("slapd", package="slapd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        (self.directory / "db").mkdir(parents=True)
        self._make_certificate()
        schemas = [f"include /etc/ldap/schema/{name}.schema" for name in ("core", "cosine", "nis", "inetorgperson")]
        lines = [
            *schemas, f"pidfile {self.directory}/slapd-own.pid", "modulepath /usr/lib/ldap", "moduleload back_mdb",
            "moduleload memberof", f"TLSCertificateFile {self.directory}/cert.pem",
            f"TLSCertificateKeyFile {self.directory}/key.pem", "database mdb", f"suffix {BASE}", f"rootdn {ROOT_DN}",
            f"rootpw {ROOT_PASSWORD}", f"directory {self.directory}/db", "overlay memberof",
            "access to attrs=userPassword by anonymous auth by * none", "access to * by * read", "",
        ]  # fmt: skip
        configuration = self.directory / "slapd.conf"
        configuration.write_text("\n".join(lines))
        command = [program, "-f", str(configuration), "-h", f"{self.url}/ {self.tls_url}/", "-d", "0"]
        server = process.start(command, self.directory, name="slapd")
        self.pid = server.pid
        process.wait_until(self._answers, server, self.directory / "slapd.log")
        self.change("ldapadd", _ldif())

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def change(self, program: str, ldif: str) -> None:
        """`ldapadd` or `ldapmodify` as the root of the directory."""
        command = [program, "-x", "-H", self.url, "-D", ROOT_DN, "-w", ROOT_PASSWORD]
        done = subprocess.run(command, input=ldif, text=True, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr

    def _make_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(_LOOPBACK)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        (self.directory / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (self.directory / "key.pem").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )

    def stop(self) -> None:
        process.stop(self.pid)


def _ldif() -> str:
    entries = [f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n"]
    entries += [f"dn: ou={ou},{BASE}\nobjectClass: organizationalUnit\nou: {ou}\n" for ou in ("people", "groups")]
    entries += [
        f"dn: uid={uid},ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {cn}\nsn: {cn.split()[-1]}\n"
        f"mail: {uid.replace('*(', '-').replace(')', '')}@example.org\nuserPassword: Passw0rd-{uid}\n"
        for uid, cn in PEOPLE.items()
    ]
    entries += [
        f"dn: cn={cn},ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: {cn}\n"
        + "".join(f"member: {member},{BASE}\n" for member in members)
        for cn, members in GROUPS.items()
    ]
    entries.append(f"dn: cn=posix,ou=groups,{BASE}\nobjectClass: posixGroup\ncn: posix\ngidNumber: 1\nmemberUid: bob\n")
    return "\n".join(entries)


@pytest.fixture
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """One for each test: they change it."""
    try:
        import ldap  # noqa: F401
    except ImportError:
        require("python-ldap", found=False, install="the extra `ldap`, see docs/operations.md")
    server = Slapd(tmp_path_factory.mktemp("slapd"), process.free_port(), process.free_port())
    server.start()
    yield server
    server.stop()
