"""Typed readers of the environment: loud when a value does not fit, and any secret may come from a file."""

from __future__ import annotations

import os
import pathlib

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class ConfigurationError(Exception):
    """A sentence for the person who set the variable."""


def env_str(name: str, default: str = "") -> str:
    return os.environ.get(name, default).strip()


def env_int(name: str, default: int, *, minimum: int = 0) -> int:
    text = env_str(name)
    if not text:
        return default
    if not text.lstrip("-").isdigit() or int(text) < minimum:
        raise ConfigurationError(f"{name} must be a whole number of at least {minimum}, not {text!r}.")
    return int(text)


def env_bool(name: str, *, default: bool = False) -> bool:
    if name not in os.environ:
        return default
    text = env_str(name).lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ConfigurationError(f"{name} must be true or false, not {text!r}.")


def env_seconds(name: str, default: str) -> int:
    """A duration: a number of seconds, or a number with s, m, h or d (`2h`)."""
    text = env_str(name, default) or default
    number, unit = (text[:-1], text[-1]) if text[-1] in _UNITS else (text, "s")
    if not number.isdigit():
        raise ConfigurationError(f"{name} must be a duration such as 0, 90s, 30m, 2h or 7d, not {text!r}.")
    return int(number) * _UNITS[unit]


def env_list(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in env_str(name, default).split(",") if part.strip()]


def env_secret(name: str) -> str:
    """The value of NAME, or the contents of the file that NAME_FILE names."""
    file = env_str(f"{name}_FILE")
    if not file:
        return env_str(name)
    try:
        return pathlib.Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationError(f"{name}_FILE names {file}, which cannot be read: {e}.") from e
