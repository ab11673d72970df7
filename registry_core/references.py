"""Names of repositories and tags (distribution-spec "Pulling manifests"; contract 7 "Names")."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from registry_core import errors

MAX_NAME = 255
_PROJECT = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class RepositoryName:
    """`project/path`: the first component names the project, the rest the repository in it."""

    project: str
    path: str

    def __str__(self) -> str:
        return f"{self.project}/{self.path}"


@functools.lru_cache(maxsize=8192)  # a refusal is not remembered, so none is longer than MAX_NAME
def parse_repository(text: str) -> RepositoryName:
    if len(text) > MAX_NAME:
        raise errors.NameInvalid(
            f"repository name is longer than {MAX_NAME} characters", {"limit": MAX_NAME, "length": len(text)}
        )
    project, slash, path = text.partition("/")
    if not is_project_name(project) or (slash and not _PATH.fullmatch(path)):
        raise errors.NameInvalid(
            f"invalid repository name: {text}",
            {"name": text, "form": "project/repository in lower case, parts joined by one of . _ __ -"},
        )
    if not slash:
        raise errors.NameInvalid(
            f"invalid repository name: {text}",
            {"name": text, "fix": f"put the project in front: <project>/{text}"},
        )
    return RepositoryName(project, path)


def is_project_name(text: str) -> bool:
    return 1 <= len(text) <= MAX_NAME and _PROJECT.fullmatch(text) is not None


def is_repository_path(text: str) -> bool:
    return _PATH.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def parse_tag(text: str) -> str:
    if not is_tag(text):
        raise errors.TagInvalid(
            f"invalid tag name: {text[:200]}",
            {"tag": text[:200], "form": "1 to 128 of A-Z a-z 0-9 _ . -, not beginning with . or -"},
        )
    return text
