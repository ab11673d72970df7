"""What `manage.py up` refuses, in one sentence, before it starts anything."""

import os
import socket
from pathlib import Path

import pytest

from config.environment import ConfigurationError
from config.options import check_address_is_free, prepare_directories, read_options

KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"
OLD_KEY = "-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nothing set but HOME."""
    for name in list(os.environ):
        if name.startswith(("BREAKWATER_", "DATABASE_URL", "REDIS_URL")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BREAKWATER_HOME", str(tmp_path / "home"))
    return monkeypatch


def refusal() -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_options()
    return str(caught.value)


def test_defaults(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = read_options()
    assert (options.host, options.port) == ("127.0.0.1", 8080)
    assert options.external_urls == ("http://127.0.0.1:8080",)
    assert options.storage == f"file://{tmp_path}/home/storage"
    assert options.workers == os.cpu_count()
    assert options.database_url == options.redis_url == options.secret_key == options.admin_password == ""


@pytest.mark.parametrize(
    ("address", "host", "port", "url"),
    [
        ("0.0.0.0:80", "0.0.0.0", 80, "http://127.0.0.1:80"),
        ("[::1]:8080", "::1", 8080, "http://[::1]:8080"),
        ("localhost:65535", "localhost", 65535, "http://localhost:65535"),
    ],
)
def test_addresses(environment: pytest.MonkeyPatch, address: str, host: str, port: int, url: str) -> None:
    environment.setenv("BREAKWATER_ADDR", address)
    options = read_options()
    assert (options.host, options.port, options.address, options.local_url) == (host, port, address, url)


@pytest.mark.parametrize("address", ["8080", "127.0.0.1", ":8080", "127.0.0.1:0", "127.0.0.1:65536", "a:b"])
def test_it_refuses_what_is_no_address(environment: pytest.MonkeyPatch, address: str) -> None:
    environment.setenv("BREAKWATER_ADDR", address)
    assert refusal().startswith("BREAKWATER_ADDR must look like")


@pytest.mark.parametrize(
    "password", ["Harbor12345", "harbor12345", "ADMIN", "changeme", "12345678", "breakwater"]
)
def test_it_refuses_well_known_passwords(environment: pytest.MonkeyPatch, password: str) -> None:
    environment.setenv("BREAKWATER_ADMIN_PASSWORD", password)
    assert "everybody knows" in refusal()
    environment.setenv("BREAKWATER_ALLOW_WELL_KNOWN_PASSWORD", "true")
    assert "everybody knows" in refusal()
    environment.setenv("BREAKWATER_ALLOW_WELL_KNOWN_PASSWORD", "for-tests")
    assert read_options().admin_password == password


def test_a_well_known_password_in_a_file_is_refused_too(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("Harbor12345\n")
    environment.setenv("BREAKWATER_ADMIN_PASSWORD_FILE", str(tmp_path / "password"))
    assert "everybody knows" in refusal()


def test_a_secret_file_that_is_missing(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BREAKWATER_SECRET_KEY_FILE", "/nowhere/key")
    assert refusal().startswith("BREAKWATER_SECRET_KEY_FILE names /nowhere/key, which cannot be read")


def test_an_own_database_wants_an_own_key(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", "postgresql://u:p@127.0.0.1/breakwater")
    assert "BREAKWATER_SECRET_KEY" in refusal()
    environment.setenv("BREAKWATER_SECRET_KEY", "k" * 40)
    assert read_options().secret_key == "k" * 40


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "mysql://u:s3cret@127.0.0.1/breakwater"),
        ("DATABASE_URL", "postgresql://u:s3cret@127.0.0.1"),
        ("DATABASE_URL", "postgresql://u:s3cret@127.0.0.1:port/breakwater"),
        ("DATABASE_URL", "u:s3cret@127.0.0.1/breakwater"),
        ("REDIS_URL", "http://:s3cret@127.0.0.1"),
        ("REDIS_URL", "redis://"),
    ],
)
def test_it_refuses_urls_of_another_kind(environment: pytest.MonkeyPatch, name: str, url: str) -> None:
    environment.setenv("BREAKWATER_SECRET_KEY", "k" * 40)
    environment.setenv(name, url)
    sentence = refusal()
    assert sentence.startswith(f"{name} must look like")
    assert "s3cret" not in sentence


@pytest.mark.parametrize(
    "url", ["registry.example.com", "ftp://a", "https://", "https://a/path", "https://a?b"]
)
def test_it_refuses_external_urls_with_more_than_a_host(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("BREAKWATER_EXTERNAL_URL", f"https://good.example.com,{url}")
    assert refusal().startswith("BREAKWATER_EXTERNAL_URL must look like")


def test_external_urls(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BREAKWATER_EXTERNAL_URL", "https://registry.example.com/, http://10.0.0.1:8080")
    assert read_options().external_urls == ("https://registry.example.com", "http://10.0.0.1:8080")


@pytest.mark.parametrize(
    ("cert", "key", "sentence"),
    [
        (CERTIFICATE, None, "BREAKWATER_TLS_KEY is not set"),
        (None, KEY, "BREAKWATER_TLS_CERT is not set"),
        (KEY, KEY, "holds no PEM certificate"),
        (CERTIFICATE, OLD_KEY, "openssl pkcs8"),
    ],
)
def test_tls_files(
    environment: pytest.MonkeyPatch, tmp_path: Path, cert: str | None, key: str | None, sentence: str
) -> None:
    for name, text in (("CERT", cert), ("KEY", key)):
        if text is not None:
            (tmp_path / name).write_text(text)
            environment.setenv(f"BREAKWATER_TLS_{name}", str(tmp_path / name))
    assert sentence in refusal()


def test_tls_files_that_are_missing(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BREAKWATER_TLS_CERT", "/nowhere/cert.pem")
    environment.setenv("BREAKWATER_TLS_KEY", "/nowhere/key.pem")
    assert (
        refusal()
        == "BREAKWATER_TLS_CERT names /nowhere/cert.pem, which cannot be read: No such file or directory."
    )


def test_a_busy_port(environment: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        environment.setenv("BREAKWATER_ADDR", f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(
            ConfigurationError, match=r"Cannot listen on 127\.0\.0\.1:\d+: Address already in use\."
        ):
            check_address_is_free(read_options())
    check_address_is_free(read_options())


@pytest.mark.parametrize("variable", ["BREAKWATER_HOME", "BREAKWATER_STORAGE"])
def test_a_directory_that_cannot_be_written(
    environment: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "file").touch()  # root may write to every directory, and nobody into a file
    environment.setenv(variable, f"{'file://' if variable.endswith('STORAGE') else ''}{tmp_path}/file/below")
    with pytest.raises(ConfigurationError, match=f"cannot be written: Not a directory. Set {variable}"):
        prepare_directories(read_options())
