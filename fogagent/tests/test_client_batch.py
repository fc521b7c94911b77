"""Batches, the fleet and the services from the terminal, against a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fogagent.__main__ import main
from fogagent.client import api as api_module
from fogagent.client import settings
from fogagent.client.settings import SignedIn
from fogagent.tests.web import HANG_UP, Answer, Site, problem, serving


@pytest.fixture
def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(api_module, "PAUSES_S", (0.0, 0.0))
    with serving() as site:
        settings.save(SignedIn(site.url, "fpt_token"))
        site.routes["POST /api/v1/tasks/batch"] = (201, {"id": 7, "name": "b", "size": 2})
        yield site


def result(index: int, state: str = "succeeded") -> dict[str, Any]:
    return {"index": index, "task": 100 + index, "state": state, "exit_code": 0, "stdout": f"{index}\n"}


SPOKEN = result(1) | {
    "stdout": "né\u2028\n"
}  # characters of several bytes, of which one ends a line for some
WHOLE, CUT = (msgspec.json.encode(each) for each in (result(0), SPOKEN))
WHOLE += b"\n"


def ends(site: Site, *answers: Answer, **states: int) -> None:
    """Have the batch of two stream these and end so."""
    site.routes["GET /api/v1/tasks/batches/7/results"] = list(answers)
    site.routes["GET /api/v1/tasks/batches/7"] = (
        200,
        {"id": 7, "name": "b", "size": 2, "states": {"failed": 0} | (states or {"succeeded": 2})},
    )


def lines(*results: dict[str, Any]) -> Answer:
    return 200, b"".join(json.dumps(each).encode() + b"\n" for each in results)


def handed_in(site: Site) -> Any:
    [asked] = [asked for asked in site.asked if asked.method == "POST"]
    return asked.body


# --- Handing in --------------------------------------------------------------------------------------

ONE = {"driver": "python", "source": "print(1)"}


@pytest.mark.parametrize(
    ("name", "content", "body"),
    [
        ("t.json", json.dumps([ONE]), {"tasks": [ONE]}),
        ("t.jsonl", f"{json.dumps(ONE)}\n\n{json.dumps(ONE)}\n", {"tasks": [ONE, ONE]}),
        ("t.jsonl", '{"source": "print(\'\u2028\')"}', {"tasks": [{"source": "print('\u2028')"}]}),
        ("t.json", '{"template": {}, "parameters": []}', {"template": {}, "parameters": []}),
    ],
)
def test_a_file_is_handed_in(
    panel: Site, tmp_path: Path, name: str, content: str, body: object, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    assert main(["batch", str(tmp_path / name)]) == 0
    assert handed_in(panel) == body
    assert "batch 7 handed in: ./fog batch --follow 7" in capsys.readouterr().err


def test_a_template_and_a_table(panel: Site, tmp_path: Path) -> None:
    template, table = tmp_path / "t.json", tmp_path / "t.csv"
    template.write_text(json.dumps({"source": "print(${n})"}))
    table.write_text('\ufeffn,word\n1,"a, b"\n2,c\n')
    assert main(["batch", "--template", str(template), "--table", str(table), "--name", "squares"]) == 0
    assert handed_in(panel) == {
        "template": {"source": "print(${n})"},
        "parameters": [{"n": "1", "word": "a, b"}, {"n": "2", "word": "c"}],
        "name": "squares",
    }


@pytest.mark.parametrize(
    ("argv", "files", "words"),
    [
        ([], {}, "Say what to hand in"),
        (["a.json", "--table", "t.csv"], {}, "not both"),
        (["missing.json"], {}, "missing.json: cannot be read"),
        (["a.json"], {"a.json": "{"}, "a.json: is not JSON"),
        (["a.json"], {"a.json": "3"}, "a.json: must hold a list of tasks"),
        (["a.jsonl"], {"a.jsonl": "{}\n{"}, "a.jsonl: line 2 is not JSON"),
        (
            ["--template", "t.json", "--table", "t.csv"],
            {"t.json": "{}", "t.csv": "a,b\n1\n"},
            "t.csv: row 1 has not as many cells as the heading",
        ),
        (
            ["--template", "t.json", "--table", "t.csv"],
            {"t.json": "{}", "t.csv": "a\n"},
            "needs a heading with the names and a row",
        ),
        (["a.json", "--follow", "7"], {"a.json": "[]"}, "--follow ID takes no tasks"),
    ],
)
def test_what_cannot_be_handed_in_is_named(
    panel: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    files: dict[str, str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert main(["batch", *argv]) == 1
    assert words in capsys.readouterr().err
    assert panel.asked == []


# --- Following ---------------------------------------------------------------------------------------


def test_results_are_json_lines_in_the_order_they_end(
    panel: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.json").write_text("[{}, {}]")
    ends(panel, lines(result(1), result(0)))
    assert main(["batch", str(tmp_path / "t.json"), "--follow"]) == 0
    said = capsys.readouterr()
    assert [json.loads(line) for line in said.out.splitlines()] == [result(1), result(0)]
    assert "batch 7: 2 succeeded" in said.err


def test_one_that_failed_fails_the_command(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    ends(panel, lines(result(0), result(1, "failed")), succeeded=1, failed=1)
    assert main(["batch", "--follow", "7"]) == 1
    assert "batch 7: 1 failed, 1 succeeded" in capsys.readouterr().err


def test_a_broken_connection_repeats_nothing(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    ends(panel, HANG_UP, (503, b"restarting"), lines(result(0), result(0), result(1)))
    assert main(["batch", "--follow", "7"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_panel_that_stays_away_is_given_up(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    ends(panel, HANG_UP, HANG_UP, HANG_UP)
    assert main(["batch", "--follow", "7"]) == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_an_output_that_was_begun_is_gone_on_with(panel: Site, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    output.write_text(json.dumps(result(0)) + "\n")
    ends(panel, lines(result(0), result(1)))
    assert main(["batch", "--follow", "7", "--output", str(output)]) == 0
    assert [json.loads(line)["index"] for line in output.read_text().splitlines()] == [0, 1]


@pytest.mark.parametrize("left", range(0, len(CUT), 3))
def test_a_last_line_that_was_cut_is_written_anew(panel: Site, tmp_path: Path, left: int) -> None:
    output = tmp_path / "results.jsonl"
    output.write_bytes(WHOLE + CUT[:left])
    ends(panel, lines(result(0), SPOKEN))
    assert main(["batch", "--follow", "7", "--output", str(output)]) == 0
    assert output.read_bytes() == WHOLE + CUT + b"\n"


@pytest.mark.parametrize("content", ['{"mine": 1}\n', "notes", json.dumps(result(0)) + "\nnotes"])
def test_an_output_that_is_something_else_is_left_alone(
    panel: Site, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "notes.json"
    output.write_text(content)
    ends(panel, lines(result(0)))
    assert main(["batch", "--follow", "7", "--output", str(output)]) == 1
    assert "something else than results" in capsys.readouterr().err
    assert output.read_text() == content


def test_a_refusal_is_told(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["GET /api/v1/tasks/batches/7"] = (200, {"id": 7, "name": "b", "size": 2, "states": {}})
    panel.routes["GET /api/v1/tasks/batches/7/results"] = problem(403, "This needs the role operator.")
    assert main(["batch", "--follow", "7"]) == 1
    assert "This needs the role operator." in capsys.readouterr().err


# --- The fleet and the services ----------------------------------------------------------------------


def test_services_as_a_table(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    service = {
        "title": "Fog coordinator",
        "state": "operational",
        "sentence": "All is well",
        "figures": [{"label": "decisions", "value": 2.5, "unit": "/s"}],
    }
    panel.routes["GET /api/v1/services"] = (200, {"items": [service]})
    assert main(["services"]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert " ".join(row.split()) == "Fog coordinator operational 2.5 /s All is well"


def test_topology_as_a_table_and_as_json(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    amount = {"cpu_millis": 2000, "memory_mb": 512, "disk_mb": 0, "gpus": 0}
    fleet = {
        "by_status": {"idle": 2, "offline": 1},
        "by_type": {"edge_device": 3},
        "by_region": {"": 1, "eu-west": 2},
        "total": amount,
        "free": amount | {"cpu_millis": 500},
        "queued": 4,
        "running": 1,
    }
    panel.routes["GET /api/v1/topology"] = (200, fleet)
    assert main(["topology"]) == 0
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "Nodes by region 1 unknown, 2 eu-west" in told
    assert "Cores free 0.5 of 2" in told
    assert "Tasks 1 running, 4 queued" in told
    assert main(["topology", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == fleet
