"""The files that the deployment guide hands out start what `./fog up` starts."""

from __future__ import annotations

import shlex
from itertools import pairwise
from typing import Any

import pytest
import yaml

from e2e.system import units
from fogpanel.supervisor import programs
from fogpanel.supervisor.places import ROOT

PROGRAMS = {
    "web": programs.web_server(0, behind_proxy=True),
    "worker": programs.worker(),
    "beat": programs.beat(),
}
LISTENING = {"--fd", "-b", "-p"}


def what_matters(words: list[str]) -> list[str]:
    """A command without its Python and without where it listens."""
    start = words.index("-m")
    kept = [word for before, word in pairwise(words[start:]) if not {before, word} & LISTENING]
    return sorted(kept)


def exec_start(name: str) -> list[str]:
    (line,) = units.unit(f"fogpanel-{name}")["ExecStart"]
    return shlex.split(line)


@pytest.fixture
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_units_and_containers_start_what_the_supervisor_starts(name: str, compose: dict[str, Any]) -> None:
    own = [word for word in PROGRAMS[name].argv if word]
    unit = [word.removesuffix("=") for word in exec_start(name)]
    contained = [word.removesuffix("=") for word in compose["services"][name]["command"]]
    assert what_matters(unit) == what_matters(own)
    assert what_matters(contained) == what_matters(own)


@pytest.mark.parametrize("name", PROGRAMS)
def test_units_stand_in_the_checkout_and_read_the_one_environment(name: str) -> None:
    unit = units.unit(f"fogpanel-{name}")
    assert unit["WorkingDirectory"] == ["/opt/fogpanel"]
    assert unit["EnvironmentFile"] == ["/etc/fogpanel/fogpanel.env"]
    assert units.environment(f"fogpanel-{name}")["DJANGO_SETTINGS_MODULE"] == "fogpanel.settings"


def test_containers_wait_for_what_there_is(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"database", "broker", "prepare", *PROGRAMS}
    for service in services.values():
        assert "image" in service
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed]
            else:
                assert how["condition"] == "service_completed_successfully"
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]
    assert (ROOT / services["web"]["build"]["dockerfile"]).exists()


def test_every_file_is_named_in_the_guide() -> None:
    guide = (ROOT / "docs" / "deployment.md").read_text()
    for file in units.UNITS.iterdir():
        assert file.name in guide, file.name
