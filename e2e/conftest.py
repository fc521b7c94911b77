"""A real panel and a real browser: one panel for all tests, a signed-in page for each role."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, expect

from e2e import chromium
from e2e.system.panel import ADMIN, Panel
from fogpanel.supervisor.places import ROOT

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 360, "height": 740}
ROLES = ("viewer", "submitter", "operator")
PASSWORD = "a long enough password"
PATIENCE_MS = 30_000
"""How long a page may take to show what it must, on two slow cores that do other things as well."""

SignedIn = Callable[[str], StorageState]
Visit = Callable[..., Page]


expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return chromium.launch_args()


@pytest.fixture(scope="session")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    with Panel(tmp_path_factory.mktemp("panel"), agents=5) as started:
        make_users(started)
        yield started


MAKE_USERS = """
from django.contrib.auth.models import Group, User
for role in {roles!r}:
    User.objects.create_user(role, password={password!r}).groups.add(Group.objects.get(name=role))
"""


def make_users(panel: Panel) -> None:
    """A user for each role, as `./fog manage` would make them."""
    code = MAKE_USERS.format(roles=ROLES, password=PASSWORD)
    env = {**os.environ, "FOGPANEL_DATA": str(panel.data.path)}
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", code]
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)


def sign_in(page: Page, panel: Panel, name: str) -> None:
    chromium.sign_in(page, panel.url, name, panel.password if name == ADMIN else PASSWORD)


@pytest.fixture(scope="session")
def signed_in(browser: Browser, panel: Panel) -> SignedIn:
    """The cookies of a user, who signs in once for all tests."""
    states: dict[str, StorageState] = {}

    def state_of(name: str) -> StorageState:
        if name not in states:
            context = browser.new_context()
            sign_in(context.new_page(), panel, name)
            states[name] = context.storage_state()
            context.close()
        return states[name]

    return state_of


@pytest.fixture
def visit(browser: Browser, panel: Panel, signed_in: SignedIn) -> Iterator[Visit]:
    """``visit("/tasks", "submitter", phone=True)``: a fresh browser window on that page, empty for ""."""
    contexts: list[BrowserContext] = []

    def open_page(path: str, name: str = ADMIN, *, phone: bool = False, dark: bool = False) -> Page:
        context = browser.new_context(
            base_url=panel.url,
            storage_state=signed_in(name) if name else None,
            viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]  # a plain dict
            color_scheme="dark" if dark else "light",
            has_touch=phone,
        )
        contexts.append(context)
        page = context.new_page()
        if path:
            page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(autouse=True)
def tell_the_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the panel's processes said goes with a failure."""
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed > failed_before and "panel" in request.fixturenames:
        print(request.getfixturevalue("panel").tail(8000))
