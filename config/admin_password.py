"""The first password of `admin`: which ones are refused because everybody knows them."""

import base64
import os

from config.environment import ConfigurationError, env_secret, env_str

WELL_KNOWN = frozenset(
    """
    00000000 0000000000 11111111 12345 123456 1234567 12345678 123456789 1234567890 admin admin123
    administrator breakwater breakwater123 breakwater12345 changeit changeme changeme123 default docker
    harbor harbor123 harbor12345 letmein p@ssw0rd passw0rd password password1 password123 qwerty
    qwerty123 registry root secret test welcome
    """.split()
)


def given_admin_password() -> str:
    """BREAKWATER_ADMIN_PASSWORD, or "" when none was given."""
    password = env_secret("BREAKWATER_ADMIN_PASSWORD")
    for_tests = env_str("BREAKWATER_ALLOW_WELL_KNOWN_PASSWORD") == "for-tests"
    if password.lower() in WELL_KNOWN and not for_tests:
        raise ConfigurationError(
            "BREAKWATER_ADMIN_PASSWORD is a password that everybody knows. Choose another, or leave it out: "
            "a random one is made and printed once."
        )
    return password


def random_admin_password() -> str:
    # The suffix satisfies rules that ask for an upper-case letter, a lower-case letter and a digit.
    return base64.urlsafe_b64encode(os.urandom(15)).decode() + "Aa1"
