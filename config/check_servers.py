"""Can DATABASE_URL and REDIS_URL be reached? Run by `manage.py up`; one sentence when not."""

import sys
import urllib.parse

import psycopg2
import redis

from config.environment import env_secret


def main() -> int:
    for check in (_check_database, _check_redis):
        trouble = check()
        if trouble:
            sys.stderr.write(f"breakwater: {trouble}\n")
            return 1
    return 0


def _check_database() -> str:
    url = env_secret("DATABASE_URL")
    try:
        psycopg2.connect(url, connect_timeout=10).close()
    except psycopg2.Error as e:
        return f"The database of DATABASE_URL ({_without_password(url)}) cannot be used: {_first_line(e)}"
    return ""


def _check_redis() -> str:
    url = env_secret("REDIS_URL")
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=10, socket_timeout=10) as client:
            client.ping()
    except (redis.RedisError, ValueError, OSError) as e:
        return f"The Redis of REDIS_URL ({_without_password(url)}) cannot be used: {_first_line(e)}"
    return ""


def _without_password(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") + "." if lines else f"{type(error).__name__}."


if __name__ == "__main__":
    sys.exit(main())
