"""What scripts read of the form and write in words, beside what panel and client make of the same."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from django.template.defaultfilters import filesizeformat
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page

from e2e.lab import open_lab, run
from fogagent.client.keyring import TaskKeys
from fogagent.messages import MAX_ARGS_BYTES, MAX_ENV_BYTES, MAX_MODULE_BYTES, MAX_SOURCE_BYTES
from fogagent.sealing.task import Terms
from fogpanel.templatetags.fog import duration
from tasks import specification
from tasks.forms import TaskForm

MODULES = ("amounts", "keyring", "submission", "words")


@pytest.fixture(scope="module")
def lab(browser: Browser) -> Iterator[Page]:
    page = browser.new_context().new_page()
    open_lab(page, *(f"private/{name}" for name in MODULES))
    yield page
    page.context.close()


def split(line: str) -> list[str] | None:
    try:
        return shlex.split(line)
    except ValueError:
        return None


LINES = st.lists(st.text("ab \t'\"\\$#|äß☂\n", max_size=14), min_size=50, max_size=50)


@settings(max_examples=20, deadline=None)
@given(LINES)
def test_words_are_split_as_a_shell_does(lab: Page, lines: list[str]) -> None:
    found = run(lab, "(lines) => lines.map(lab.words.splitWords)", lines)
    assert found == [split(line) for line in lines]


@pytest.mark.parametrize(
    "text",
    ["", "A=1", " A = 1 \n\nB=x=y", "A=\nA=2", "MODE", "=3", " = 3", "A=1\nMODE", "__proto__=1"],
)
def test_pairs_are_read_as_the_panel_reads_them(lab: Page, text: str) -> None:
    form = TaskForm({"driver": "python", "source": "x", "env": text})
    script = "(text) => JSON.stringify(lab.words.readPairs(text.split('\\n')))"
    found = json.loads(run(lab, script, text))
    assert ("wrong" in found) == (not form.is_valid())
    if form.is_valid():
        assert found["pairs"] == form.cleaned_data["env"]


def test_limits_are_the_panels(lab: Page) -> None:
    names = ("MAX_SOURCE_BYTES", "MAX_MODULE_BYTES", "MAX_ARGS", "MAX_ARGS_BYTES", "MAX_ENV_BYTES")
    found = run(lab, "(names) => names.map((name) => lab.submission[name])", names)
    known = [MAX_SOURCE_BYTES, MAX_MODULE_BYTES, specification.MAX_ARGS, MAX_ARGS_BYTES, MAX_ENV_BYTES]
    assert found == known


SECONDS = (0, 0.0004, 0.0096, 0.25, 0.9994, 1, 8.4, 59.94, 60, 185, 3600, 7800)
BYTES = (0, 1, 200, 1023, 1024, 4096, 100_000, 1024 * 1024, 22_000_000, 3 * 1024**3)


def test_amounts_are_written_as_on_all_pages(lab: Page) -> None:
    assert run(lab, "(all) => all.map(lab.amounts.duration)", SECONDS) == [duration(s) for s in SECONDS]
    assert run(lab, "(all) => all.map(lab.amounts.amount)", BYTES) == [filesizeformat(b) for b in BYTES]


# --- Keys as a file ------------------------------------------------------------------------------------

KEYS = TaskKeys(
    privacy="private",
    terms=Terms(driver="python", timeout_s=60, cpu_millis=250, memory_mb=128),
    content_key=bytes(range(32)),
    content_sha256=bytes(range(1, 33)),
    result_key=bytes(range(2, 34)),
    reservations={7: [bytes(32), bytes(range(32))]},
    task=12,
)


@pytest.mark.parametrize("keys", [KEYS, msgspec.structs.replace(KEYS, task=None)], ids=["known", "unknown"])
def test_key_files_are_those_of_the_command_line(lab: Page, keys: TaskKeys) -> None:
    text = msgspec.json.encode(keys).decode()
    again = run(lab, "(text) => lab.keyring.written(lab.keyring.readFile(text))", text)
    assert msgspec.json.decode(again, type=TaskKeys) == keys


@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON", '{"content_sha256": "AAAA"}', "null"])
def test_what_is_no_key_file_is_refused(lab: Page, text: str) -> None:
    script = """(text) => {
      try { return lab.keyring.readFile(text); }
      catch (error) { return [error.constructor.name, error.message]; }
    }"""
    found: Any = run(lab, script, text)
    assert found == ["BadKeyFile", "This is not a file with the keys of a private task."]
