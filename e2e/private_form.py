"""Handing in a private task in a browser."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

LIVE_S = 60_000  # milliseconds; enough for two slow cores
MARKER = "the-marker-of-what-is-inside"
SCRIPT = f"""
import os, sys
print("{MARKER}", *sys.argv[1:], sys.stdin.read(), os.environ['WHO'])
print("to the other stream", file=sys.stderr)
sys.exit(3)
"""
PRINTED = f"{MARKER} --deep {MARKER} in words {MARKER} read {MARKER}-env\n"


def fill(page: Page, level: str, source: str = SCRIPT) -> None:
    """With the marker in all that is to be sealed."""
    page.get_by_label("Source").fill(source)
    page.get_by_label("Arguments").fill(f"--deep '{MARKER} in words'")
    page.get_by_text("Standard input and environment").click()
    page.get_by_label("Standard input", exact=True).fill(f"{MARKER} read")
    page.get_by_label("Environment", exact=True).fill(f"WHO={MARKER}-env")
    choose(page, level)


def choose(page: Page, level: str) -> None:
    expect(page.locator(f"#level-{level}")).to_be_enabled(timeout=LIVE_S)
    page.locator(f"#level-{level}").check()


def submit(page: Page) -> int:
    """The number of the task whose page opens."""
    page.get_by_test_id("task-submit").click()
    page.wait_for_url(re.compile(r"/tasks/\d+$"), timeout=LIVE_S)
    return int(page.url.rpartition("/")[2])


def open_result(page: Page) -> None:
    expect(page.get_by_test_id("open-result")).to_be_visible(timeout=LIVE_S)
    page.get_by_test_id("open-result").click()
