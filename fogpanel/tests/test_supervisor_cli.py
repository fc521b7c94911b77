"""What `./fog up` and `./fog test` take, refuse and report."""

from __future__ import annotations

import json

import pytest

from fogpanel.supervisor import testing
from fogpanel.supervisor.__main__ import parse
from fogpanel.supervisor.check import Report, Tried
from fogpanel.supervisor.places import ROOT

WELL = Report(
    seconds_to_ready=3.2,
    agents=5,
    services={"fog_coordinator": "operational", "onion": "disabled"},
    tasks={"wasm": Tried("succeeded", 0.1, "a"), "python": Tried("succeeded", 0.2, "b")},
)


def test_the_defaults_of_up() -> None:
    wishes = parse(["up"])
    assert (wishes.host, wishes.port, wishes.data, wishes.agents) == ("127.0.0.1", 8000, None, 5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["up", "--port", "70000"], "must be between 0 and 65535, was 70000"),
        (["up", "--port", "http"], "must be between 0 and 65535, was http"),
        (["up", "--agents", "-1"], "must be between 0 and 100, was -1"),
        (["up", "--json"], "--json is for the report of --check"),
        (["test", "everything"], "invalid choice: 'everything'"),
        (["test", "soak", "--scale", "0"], "must be above 0 and at most 10, was 0"),
        (["test", "soak", "--scale", "much"], "must be above 0 and at most 10, was much"),
    ],
)
def test_wrong_options_are_named(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert sentence in capsys.readouterr().err


def test_the_report_is_one_object_with_these_keys() -> None:
    report = json.loads(json.dumps(WELL.as_json()))
    assert list(report) == ["seconds_to_ready", "agents", "services", "tasks"]
    assert report["tasks"]["wasm"] == {"status": "succeeded", "seconds": 0.1, "node": "a"}


@pytest.mark.parametrize(
    ("services", "tasks"),
    [
        ({}, WELL.tasks),
        ({"fog_coordinator": "degraded"}, WELL.tasks),
        (WELL.services, {"wasm": WELL.tasks["wasm"]}),
        (WELL.services, {**WELL.tasks, "command": Tried("failed", 1.0, "a")}),
        (WELL.services, {**WELL.tasks, "python": Tried("wrong output", 1.0, "a")}),
    ],
    ids=["no service", "a service degraded", "a driver untried", "a task failed", "a wrong output"],
)
def test_a_check_passes_only_if_everything_works(services: dict[str, str], tasks: dict[str, Tried]) -> None:
    assert WELL.passed
    report = Report(WELL.seconds_to_ready, WELL.agents, services, tasks)
    assert not report.passed
    assert report.as_text().endswith("FAILED")


def test_every_package_with_tests_is_in_a_part() -> None:
    named = {argument for part in testing.PARTS.values() for command in part.commands for argument in command}
    packages = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("[a-z]*/tests/__init__.py")}
    assert packages <= named


def test_the_soak_is_the_only_part_left_out() -> None:
    assert [name for name, part in testing.PARTS.items() if not part.by_default] == ["soak"]
