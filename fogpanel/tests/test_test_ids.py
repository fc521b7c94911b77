"""The ``data-testid`` values are a public contract: docs/test-ids.md and the templates name the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.conf import settings

# Where an id is written: in HTML, as an argument of a component, as an attribute of a form's widget,
# or put together for a component.
WRITTEN = (
    re.compile(r'data-testid="([^"]+)"'),
    re.compile(r'\btest_?id="([^"]+)"'),
    re.compile(r'"data-testid": "([^"]+)"'),
    re.compile(r'copy_line [\w.]+ "[^"]+" "([^"]+)"'),
    re.compile(r'with "([\w-]+-)"\|add:[\w.]+ as testid'),
)


def used() -> Iterator[str]:
    """Every id that templates and forms give, with ``*`` for what varies."""
    templates = (settings.BASE_DIR / "templates").rglob("*.html")
    forms = (settings.BASE_DIR / app / "forms.py" for app in ("nodes", "tasks"))
    for path in (*templates, *forms):
        text = re.sub(r"\{#.*?#\}", "", path.read_text())
        for pattern in WRITTEN:
            for written in pattern.findall(text):
                name = re.sub(r"\{\{.*?\}\}", "*", written)
                if name != "*":  # a component passes on what its caller names
                    yield name + "*" if name.endswith("-") else name


def documented() -> set[str]:
    table = (settings.BASE_DIR / "docs" / "test-ids.md").read_text()
    return set(re.findall(r"^\| `([a-z-]+(?:\{\w+\})?)` \|", table, re.MULTILINE))


def fits(pattern: str, name: str) -> bool:
    wild = re.escape(pattern).replace(r"\*", r"[\w{}-]+")
    return re.fullmatch(wild, name) is not None


def test_every_id_is_documented() -> None:
    assert [name for name in used() if not any(fits(name, told) for told in documented())] == []


def test_every_documented_id_is_used() -> None:
    assert [told for told in documented() if not any(fits(name, told) for name in used())] == []
