"""The client against a real HTTP server."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fogagent.__main__ import main
from fogagent.address import PanelAddress
from fogagent.client import api as api_module
from fogagent.client import settings
from fogagent.client.api import Api
from fogagent.client.errors import Refused, Unreachable
from fogagent.client.settings import SignedIn
from fogagent.tests.web import HANG_UP, Answer, Asked, Site, problem, serving, shown

KEY, OTHER_KEY = "ab" * 32, "cd" * 32


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(api_module, "PAUSES_S", (0.0, 0.0))


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        site.routes["GET /api/v1/agents/panel"] = shown(KEY)
        yield site


@pytest.fixture
def panel(site: Site) -> Site:
    """A site that we are signed in to."""
    settings.save(SignedIn(site.url, "fpt_token"))
    return site


def task(state: str = "queued", **changes: object) -> dict[str, Any]:
    return {
        "id": 12,
        "name": "count.py",
        "url": "http://panel/tasks/12",
        "state": state,
        "driver": "python",
        "strategy": "least_loaded",
        "node": None,
        "wait_reasons": [],
        "exit_code": None,
        "reason": "",
        "finished_at": None,
        "privacy": "public",
        "needs_resealing": False,
        "reseal_by": None,
    } | changes


def chunk(id: int, text: str, stream: str = "stdout", attempt: int = 1) -> dict[str, Any]:
    return {"id": id, "text": text, "stream": stream, "attempt": attempt}


def log(*chunks: dict[str, Any], done: bool = False) -> Answer:
    return 200, {"chunks": list(chunks), "next": chunks[-1]["id"] if chunks else 0, "done": done}


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "count.py"
    path.write_text("print(1)\n")
    return str(path)


def submitted(site: Site) -> Asked:
    (asked,) = [asked for asked in site.asked if asked.path == "/api/v1/tasks" and asked.method == "POST"]
    return asked


def ends(site: Site, ended: dict[str, Any], *pages: Answer) -> None:
    """Have the next task handed in print these pages and end so."""
    site.routes["POST /api/v1/tasks"] = (201, task())
    site.routes["GET /api/v1/tasks/12/logs"] = [*pages, log(done=True)]
    site.routes["GET /api/v1/tasks/12"] = (200, ended)


# --- login -----------------------------------------------------------------------------------------


def test_login_makes_a_token_and_keeps_it_private(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.routes["POST /api/v1/tokens"] = (201, {"token": "fpt_new"})
    site.routes["GET /api/v1/tasks"] = (200, {"items": [], "next": None})
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    assert main(["login", site.url, "--user", "ada"]) == 0
    assert site.asked[1].body["username"] == "ada"
    assert site.asked[1].body["password"] == "secret"
    assert site.asked[2].headers["authorization"] == "Bearer fpt_new"
    assert settings.load() == SignedIn(site.url, "fpt_new", {site.url: KEY})
    assert settings.settings_path().stat().st_mode & 0o777 == 0o600


def test_login_with_a_token_tries_it_first(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.routes["GET /api/v1/tasks"] = problem(401, "The token was revoked.")
    assert main(["login", site.url, "--token", "fpt_old"]) == 1
    assert "The token was revoked." in capsys.readouterr().err
    assert not settings.settings_path().exists()


def test_a_panel_with_another_key_gets_no_password_until_its_key_is_confirmed(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.routes["GET /api/v1/tasks"] = (200, {"items": [], "next": None})
    sign_in = ["login", site.url, "--token", "fpt_1"]
    assert main(sign_in) == 0
    assert f"The key of {site.url} is {KEY}" in capsys.readouterr().err
    assert main(sign_in) == 0
    assert KEY not in capsys.readouterr().err
    settings.save(replace(settings.load(), url="http://elsewhere"))
    site.routes["GET /api/v1/agents/panel"] = shown(OTHER_KEY)
    before = len(site.asked)
    assert main(sign_in) == 1
    assert f"./fog login {site.url} --panel-key {OTHER_KEY}" in capsys.readouterr().err
    assert [asked.path for asked in site.asked[before:]] == ["/api/v1/agents/panel"]
    assert main([*sign_in, "--panel-key", KEY]) == 1
    assert "not the one given" in capsys.readouterr().err
    assert main([*sign_in, "--panel-key", OTHER_KEY]) == 0
    assert settings.load().keys == {site.url: OTHER_KEY}


def test_a_first_login_can_be_given_the_key(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["login", site.url, "--token", "fpt_1", "--panel-key", OTHER_KEY]) == 1
    assert f"shows the key {KEY}, not the one given" in capsys.readouterr().err
    site.routes["GET /api/v1/agents/panel"] = (200, {"panel_key": "none"})
    assert main(["login", site.url, "--token", "fpt_1"]) == 1
    assert "shows 'none' in place of its key" in capsys.readouterr().err


def test_login_by_plain_http_elsewhere_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["login", "http://panel.example", "--token", "t"]) == 1
    assert "--insecure" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [["tasks"], ["nodes"], ["logs", "1"], ["cancel", "1"], ["run", "--driver", "command"]]
)
def test_everything_else_needs_a_login(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    assert capsys.readouterr().err == "Sign in first: ./fog login URL\n"


def test_damaged_settings_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    settings.save(SignedIn("u", "t")).write_text("{")
    assert main(["tasks"]) == 1
    assert "is damaged" in capsys.readouterr().err


# --- run -------------------------------------------------------------------------------------------


def test_run_follows_the_log_and_exits_as_the_task_does(
    panel: Site, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = task(
        "failed", exit_code=3, reason="The program exited with code 3.", node={"id": 1, "name": "a1"}
    )
    ends(panel, ended, log(chunk(1, "one\n")), log(chunk(2, "oh\n", "stderr"), chunk(5, "two\n")))
    assert main(["run", script, "--", "--fast", "10"]) == 3
    said = capsys.readouterr()
    assert said.out == "one\ntwo\n"
    assert "oh\n" in said.err
    assert "task 12 failed on a1: The program exited with code 3." in said.err
    assert submitted(panel).body == {
        "name": "count.py",
        "driver": "python",
        "source": "print(1)\n",
        "args": ["--fast", "10"],
    }
    afters = [asked.query["after"] for asked in panel.asked if asked.path.endswith("/logs")]
    assert afters == ["0", "1", "5"]


def test_run_tells_attempts_apart(panel: Site, script: str, capsys: pytest.CaptureFixture[str]) -> None:
    ends(panel, task("succeeded", exit_code=0), log(chunk(1, "a\n")), log(chunk(2, "a\n", attempt=2)))
    assert main(["run", script]) == 0
    assert "--- attempt 2 ---" in capsys.readouterr().err


def test_run_says_why_it_waits(panel: Site, script: str, capsys: pytest.CaptureFixture[str]) -> None:
    waits = task(wait_reasons=[{"reason": "not enough memory", "nodes": 5}])
    ends(panel, waits, log(), log())
    panel.routes["GET /api/v1/tasks/12"] = [(200, waits), (200, waits), (200, task("expired"))]
    assert main(["run", script]) == 1
    assert capsys.readouterr().err.count("task 12 queued: waits: not enough memory (5)") == 1


@pytest.mark.parametrize(("code", "seen"), [(None, 1), (0, 1), (7, 7), (256, 1), (-9, 247)])
def test_a_failed_task_never_looks_like_a_success(
    panel: Site, script: str, code: int | None, seen: int
) -> None:
    ends(panel, task("failed", exit_code=code))
    assert main(["run", script]) == seen


def test_run_passes_on_what_was_asked_for(panel: Site, tmp_path: Path) -> None:
    module = tmp_path / "m.wasm"
    module.write_bytes(b"\0asm")
    stdin = tmp_path / "in"
    stdin.write_text("äöü")
    panel.routes["POST /api/v1/tasks"] = (201, task())
    options = "--name n --strategy round_robin --region eu-west --region-required --cores 0.5 --memory-mb 64"
    more = (
        "--timeout 9 --priority 0 --max-attempts 1 --network --env A=1 --env B==2 --label gpu=a100 --detach"
    )
    assert main(["run", str(module), *options.split(), *more.split(), "--stdin", str(stdin)]) == 0
    assert submitted(panel).body == {
        "driver": "wasm",
        "module": base64.b64encode(b"\0asm").decode(),
        "args": [],
        "name": "n",
        "strategy": "round_robin",
        "region": "eu-west",
        "region_required": True,
        "cores": 0.5,
        "memory_mb": 64,
        "timeout_s": 9.0,
        "priority": 0,
        "max_attempts": 1,
        "network": True,
        "env": {"A": "1", "B": "=2"},
        "labels": {"gpu": "a100"},
        "stdin": "äöü",
    }


def test_run_a_command(panel: Site) -> None:
    panel.routes["POST /api/v1/tasks"] = (201, task())
    assert main(["run", "--driver", "command", "--detach", "--", "ls", "-l", "--", "x"]) == 0
    assert submitted(panel).body == {"driver": "command", "argv": ["ls", "-l", "--", "x"]}


def test_run_as_json_prints_nothing_else(
    panel: Site, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(panel, task("succeeded"), log(chunk(1, "one\n")))
    assert main(["run", script, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["state"] == "succeeded"
    assert said.err == ""


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run"], "Say what to run"),
        (["run", "x.txt"], "neither .py nor .wasm"),
        (["run", "missing.py"], "missing.py: cannot be read"),
        (["run", "--driver", "wasm"], "--driver wasm needs a file"),
        (["run", "x.py", "--driver", "command"], "takes no file"),
    ],
)
def test_run_says_what_is_missing(
    panel: Site, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 1
    assert words in capsys.readouterr().err
    assert panel.asked == []


def test_a_script_that_is_not_text_is_refused(
    panel: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.py").write_bytes(b"print()\xff")
    assert main(["run", str(tmp_path / "x.py")]) == 1
    assert "must be UTF-8 text, is not from byte 7 on" in capsys.readouterr().err


def test_every_wrong_field_gets_its_line(
    panel: Site, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = [
        {"field": "timeout_s", "message": "timeout_s: must be between 1 and 86400 seconds, was 0."},
        {"field": "region", "message": "region: is unknown."},
    ]
    panel.routes["POST /api/v1/tasks"] = problem(422, "Both.", errors=errors)
    assert main(["run", script]) == 1
    assert capsys.readouterr().err.splitlines() == [error["message"] for error in errors]


# --- Looking ---------------------------------------------------------------------------------------


def test_tasks_are_listed_over_pages(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def page(asked: Asked) -> Answer:
        if "after" in asked.query:
            return 200, {"items": [task("failed", id=3, reason="It [bold]broke.")], "next": None}
        return 200, {"items": [task("running", node={"id": 1, "name": "a1"})], "next": 9}

    panel.routes["GET /api/v1/tasks"] = page
    assert main(["tasks", "--state", "failed", "--limit", "20"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[1].split()[2:] == ["running", "python", "public", "a1"]
    assert "It [bold]broke." in said
    assert [asked.query for asked in panel.asked] == [
        {"state": "failed", "limit": "20"},
        {"state": "failed", "limit": "19", "after": "9"},
    ]


def test_nodes_as_json(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["GET /api/v1/nodes"] = (200, {"items": [{"id": 1}], "next": None})
    assert main(["nodes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"id": 1}]


def test_nodes_as_a_table(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    node = {
        "id": 1,
        "name": "a1",
        "type": "edge_device",
        "status": "idle",
        "region": "eu-west",
        "reason": "No work.",
    }
    sizes = {"cpu_millis": 2000, "free_cpu_millis": 1500, "memory_mb": 512, "free_memory_mb": 256}
    panel.routes["GET /api/v1/nodes"] = (200, {"items": [node | sizes], "next": None})
    assert main(["nodes"]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert " ".join(row.split()) == "1 a1 edge_device idle eu-west 1.5 of 2 256 of 512 MB No work."


@pytest.mark.parametrize("what", ["tasks", "nodes"])
def test_an_empty_list_says_so(panel: Site, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes[f"GET /api/v1/{what}"] = (200, {"items": [], "next": None})
    assert main([what]) == 0
    assert f"No {what}." in capsys.readouterr().err


def test_logs_stop_at_what_there_is(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["GET /api/v1/tasks/12/logs"] = [log(chunk(1, "one\n")), log()]
    panel.routes["GET /api/v1/tasks/12"] = (200, task("running"))
    assert main(["logs", "12"]) == 0
    assert capsys.readouterr().out == "one\n"


def test_logs_can_be_followed(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["GET /api/v1/tasks/12/logs"] = [log(chunk(1, "one\n")), log(chunk(2, "two\n"), done=True)]
    panel.routes["GET /api/v1/tasks/12"] = (200, task("failed", exit_code=4))
    assert main(["logs", "-f", "12"]) == 4
    assert capsys.readouterr().out == "one\ntwo\n"


def test_cancel(panel: Site, capsys: pytest.CaptureFixture[str]) -> None:
    panel.routes["POST /api/v1/tasks/12/cancel"] = (200, task("running"))
    assert main(["cancel", "12"]) == 0
    assert "task 12 is running; its node will stop it" in capsys.readouterr().err


def test_only_run_takes_what_comes_after_the_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tasks", "--", "x"])
    assert "tasks takes nothing after --" in capsys.readouterr().err


# --- A panel that is away --------------------------------------------------------------------------


def api(site: Site) -> Api:
    return Api(PanelAddress.parse(site.url, insecure=False), "t", pause=lambda seconds: None)


def test_a_request_that_was_cut_off_is_the_same_request_again(site: Site) -> None:
    site.routes["POST /api/v1/tasks"] = [HANG_UP, (503, b"restarting"), (201, task())]
    with api(site) as client:
        assert client.submit({"driver": "python"})["id"] == 12
        site.routes["POST /api/v1/tasks"] = (201, task())
        client.submit({"driver": "python"})
    keys = [asked.headers["idempotency-key"] for asked in site.asked]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_panel_that_stays_away_is_given_up(site: Site) -> None:
    site.routes["GET /api/v1/tasks/1"] = HANG_UP
    with api(site) as client, pytest.raises(Unreachable, match="cannot be reached"):
        client.task(1)
    assert len(site.asked) == 3


def test_a_refusal_is_not_tried_again(site: Site) -> None:
    site.routes["GET /api/v1/tasks/1"] = problem(404, "There is no task 1.", code="not-found")
    with api(site) as client, pytest.raises(Refused, match="There is no task 1") as refusal:
        client.task(1)
    assert (refusal.value.status, refusal.value.code, len(site.asked)) == (404, "not-found", 1)


@pytest.mark.parametrize("answer", [(200, b"<html>"), (200, [1]), (404, b"nginx")])
def test_something_else_at_the_address_is_named(
    panel: Site, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.routes["GET /api/v1/tasks"] = answer
    assert main(["tasks"]) == 1
    assert "Is the address right?" in capsys.readouterr().err


def test_the_client_starts_without_what_only_agents_need() -> None:
    code = (
        "import sys; from fogagent.__main__ import main\n"
        "try: main(['tasks', '--help'])\n"
        "except SystemExit: sys.exit('wasmtime' in sys.modules or 'httpx' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )
