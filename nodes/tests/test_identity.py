"""One panel, one key: the first host decides which, and the others hold a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from nodes.identity import KEY_FILE, AnotherPanel, confirm_identity, panel_identity

pytestmark = pytest.mark.django_db

OnHost = Callable[[str], Path]


@pytest.fixture
def on_host(tmp_path: Path, settings: LazySettings) -> Iterator[OnHost]:
    """``on_host("b")``: what follows happens on that host, with a data folder of its own."""

    def change(name: str) -> Path:
        settings.DATA_DIR = tmp_path / name
        settings.DATA_DIR.mkdir(exist_ok=True)
        panel_identity.cache_clear()
        return tmp_path / name

    yield change
    panel_identity.cache_clear()


def test_a_host_with_a_copy_of_the_key_belongs_to_the_panel(on_host: OnHost) -> None:
    first = on_host("a")
    confirm_identity()
    shutil.copy(first / KEY_FILE, on_host("b") / KEY_FILE)
    confirm_identity()


def test_a_host_without_the_key_is_refused_and_makes_none(on_host: OnHost) -> None:
    on_host("a")
    confirm_identity()
    second = on_host("b")
    with pytest.raises(AnotherPanel, match="and secret_key from"):
        confirm_identity()
    assert not (second / KEY_FILE).exists()


def test_a_host_with_another_key_is_not_prepared(on_host: OnHost) -> None:
    on_host("a")
    confirm_identity()
    on_host("b")
    panel_identity()
    with pytest.raises(CommandError, match="another key"):
        call_command("begin", stdout=StringIO())
