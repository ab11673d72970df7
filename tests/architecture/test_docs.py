"""Documentation is checked: what the code reads, a person can look up."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Set by Breakwater itself, or printed, and never read from what a person set.
NOT_A_VARIABLE = {"BREAKWATER_ADMIN_CREATED"}


def _python_files() -> list[Path]:
    folders = [
        folder for folder in ROOT.iterdir() if (folder / "__init__.py").exists() and folder.name != "tests"
    ]
    return [ROOT / "manage.py", *(file for folder in folders for file in folder.rglob("*.py"))]


def _variables() -> set[str]:
    text = "\n".join(file.read_text(encoding="utf-8") for file in _python_files())
    return set(re.findall(r"\bBREAKWATER_[A-Z0-9_]*[A-Z0-9]\b", text)) | {"DATABASE_URL", "REDIS_URL"}


@pytest.mark.parametrize("variable", sorted(_variables() - NOT_A_VARIABLE))
def test_each_variable_is_documented(variable: str) -> None:
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"`{variable}`" in operations, (
        f"{variable} is read by the code and has no row in docs/operations.md"
    )


def test_no_variable_is_documented_that_nothing_reads() -> None:
    documented = set(
        re.findall(r"^\| .*", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = set(re.findall(r"`(BREAKWATER_[A-Z0-9_]+)`", "\n".join(documented)))
    assert named <= _variables()


def test_links_between_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_locks_name_no_index_and_no_folder() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        text = lock.read_text(encoding="utf-8")
        assert not re.search(r"--(extra-)?index-url|--find-links|://|^ *(/|file:)", text, re.MULTILINE), (
            lock.name
        )
        pins = re.findall(r"^[A-Za-z0-9][^\n]*(?:\n[ ]+--hash[^\n]*)*", text, re.MULTILINE)
        assert pins
        assert all("==" in pin and "--hash=sha256:" in pin for pin in pins), lock.name
