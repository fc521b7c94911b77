"""What all tests share: limits, and the small cast of the Django tests, a user of each role and nodes.

Nothing of Django is imported until a fixture needs it: the tests of coordinator and agent run without.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from nodes.leases import Lease
    from nodes.models import Node

MakeNode = Callable[..., "Node"]
MakeFleet = Callable[..., None]

LIMITS_S = {"e2e/soak": 2400, "e2e": 600, "": 180}
"""How long a test may take with its fixtures, by where it is: far longer than it does on a slow machine. Then
it fails, with the stacks of all threads, and the others go on."""

# Each run tries the same examples, so that it fails for what was changed and nothing else; the soak's fuzzing
# looks for new ones. A slow machine fails no property.
hypothesis.settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("steady")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.timeout(limit_s(item.path.relative_to(config.rootpath))))


def limit_s(path: Path) -> int:
    """Of the nearest folder above that has one."""
    places = ("" if folder == Path() else folder.as_posix() for folder in path.parents)
    return next(LIMITS_S[place] for place in places if place in LIMITS_S)


def _user(role: str) -> User:
    from django.contrib.auth.models import Group, User

    user = User.objects.create_user(f"some-{role}")
    user.groups.add(Group.objects.get(name=role))
    return user


def take_lease(node: Node) -> Lease:
    """Let the agent of ``node`` connect. Raises `nodes.leases.NotWelcome`."""
    from django.utils import timezone

    from nodes import leases

    claim = leases.Claim(node.public_key, "127.0.0.1")
    answer = leases.take([claim], timezone.now())[node.public_key]
    if isinstance(answer, leases.NotWelcome):
        raise answer
    return answer


@pytest.fixture
def viewer(db: None) -> User:
    return _user("viewer")


@pytest.fixture
def submitter(db: None) -> User:
    return _user("submitter")


@pytest.fixture
def operator(db: None) -> User:
    return _user("operator")


@pytest.fixture
def admin_user(db: None) -> User:
    return _user("admin")


def node_columns(number: int, columns: dict[str, Any]) -> dict[str, Any]:
    """A node that is connected and idle unless ``columns`` say otherwise."""
    from datetime import timedelta

    from django.utils import timezone

    now = timezone.now()
    size = {"cpu_millis": 1000, "memory_mb": 1024, "disk_mb": 10_000, "gpu_count": 0}
    size |= {name: columns[name] for name in size if name in columns}
    free = {f"free_{name}": amount for name, amount in size.items()}
    usual = {
        "name": f"node-{number}",
        "public_key": f"{number:064x}",
        "sealing_key": f"{number:064x}",
        "approved_at": now,
        "region": "eu-west",
        "drivers": [{"name": name, "available": True} for name in ("wasm", "python")],
        "connected": True,
        "connected_at": now,
        "last_contact_at": now,
        "deadline_at": now + timedelta(minutes=5),
    }
    return usual | size | free | columns


@pytest.fixture
def make_node(db: None) -> MakeNode:
    """``make_node(**columns)``: a node that is connected and idle unless the columns say otherwise."""
    from nodes.models import Node

    numbers = count(1)

    def make(**columns: Any) -> Node:
        return Node.objects.create(**node_columns(next(numbers), columns))

    return make


@pytest.fixture
def make_fleet(db: None) -> MakeFleet:
    """``make_fleet(number, **columns)``: many such nodes at once."""
    from nodes.models import Node

    def make(number: int, **columns: Any) -> None:
        Node.objects.bulk_create(Node(**node_columns(index, columns)) for index in range(number))

    return make


@pytest.fixture(autouse=True)
def parameters_as_stored() -> None:
    """No test sees what another one changed and its database has forgotten."""
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        from fogpanel.parameters import store

        store.copy.forget()


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No Django test touches the checkout's data folder, a broker, or needs collected static files."""
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        yield
        return
    from django.test import override_settings

    folder = tmp_path_factory.mktemp("panel")
    (folder / "static").mkdir()
    with override_settings(
        DATA_DIR=folder,
        STATIC_ROOT=folder / "static",
        STORAGES={
            "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
            "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
        },
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    ):
        yield
