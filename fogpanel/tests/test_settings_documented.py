"""docs/settings.md lists the environment variables that the code reads, all of them and no others."""

from __future__ import annotations

import re

from fogpanel.supervisor.places import ROOT

READ = re.compile(
    r"""(?:env\.(?:text|flag|number|names)|os\.environ\.get)\(\s*"([A-Z][A-Z_]+)"|os\.environ\["([A-Z][A-Z_]+)"\]"""
)
FOLDERS = ("fogpanel", "nodes", "tasks", "services", "coordinator", "fogagent", "bench", "e2e")
NOT_OURS = {"PATH"}


def read_by_the_code() -> set[str]:
    sources = (
        file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py") if "tests" not in file.parts
    )
    found = (match for file in sources for match in READ.findall(file.read_text()))
    return {first or second for first, second in found} - NOT_OURS


def documented() -> set[str]:
    return set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))


def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    assert read_by_the_code() == documented()
