"""Private tasks from the terminal, against a panel in memory that may be anybody's."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fogagent.__main__ import main
from fogagent.client import api as api_module
from fogagent.client import settings
from fogagent.client.keyring import LOOK_AGAIN_S
from fogagent.client.settings import SignedIn
from fogagent.messages import MAX_MODULE_BYTES, Outcome
from fogagent.overlay.directory import decode_changes, encode_changes
from fogagent.sealing.result import Result, seal_result
from fogagent.sealing.task import SealedSpec, Terms
from fogagent.tests.directories import PANEL_KEY
from fogagent.tests.sealed_panel import Node, SealedPanel, ran
from fogagent.tests.web import HANG_UP, Answer, Asked, problem, serving, shown

OTHER_KEY = "ab" * 32


@pytest.fixture
def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SealedPanel]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(api_module, "PAUSES_S", (0.0, 0.0))
    with serving() as site:
        settings.save(SignedIn(site.url, "fpt_token", {site.url: PANEL_KEY.hex()}))
        yield SealedPanel(site)


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "salaries.py"
    path.write_text("print(1)")
    return str(path)


def key_files() -> list[Path]:
    return sorted((settings.settings_path().parent / "sealed").rglob("*.json"))


def run(script: str, *more: str) -> int:
    return main(["run", "--privacy", "private", script, *more])


def exits(code: int, **more: Any) -> Any:
    """A node's behaviour: the program ends with this code."""
    outcome = Outcome.EXIT_CODE if code else Outcome.SUCCEEDED

    def behave(spec: SealedSpec) -> Result:
        return Result(outcome=outcome, exit_code=code, **more)

    return behave


def went_unsent(panel: SealedPanel) -> bool:
    return not any(asked.path.endswith("/task") for asked in panel.site.asked)


# --- Handing in, following, opening ------------------------------------------------------------------


def test_only_the_node_sees_what_runs_and_only_we_what_comes_of_it(
    panel: SealedPanel, script: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "in").write_bytes(b"\xff\0in")
    panel.nodes[0].behave = lambda spec: replace(ran(spec), stderr=b"\xffraw\n")
    options = ["--env", "A=1", "--stdin", str(tmp_path / "in"), "--timeout", "9", "--cores", "0.3"]
    assert run(script, *options, "--", "deep") == 0
    said = capfdbinary.readouterr()
    assert said.out == b"ran print(1) deep"
    assert b"\xffraw\n" in said.err
    assert "task 5 succeeded on atlas" in said.err.decode(errors="replace")
    [spec] = panel.nodes[0].opened
    terms = Terms(driver="python", timeout_s=9, cpu_millis=300, memory_mb=128, network=False)
    assert (spec.terms, spec.payload, spec.stdin) == (terms, b"print(1)", b"\xff\0in")
    assert (spec.args, spec.env) == (["deep"], {"A": "1"})
    told = json.dumps([asked.body for asked in panel.site.asked])
    for inside in ("print", "salaries", "deep", base64.b64encode(b"print(1)").decode(), '"A"'):
        assert inside not in told
    assert panel.asked_first() == {
        "privacy": "private",
        "driver": "python",
        "timeout_s": 9.0,
        "cores": 0.3,
        "memory_mb": 128,
        "network": False,
    }


def test_a_name_that_is_given_is_told(panel: SealedPanel, script: str) -> None:
    assert run(script, "--name", "monthly", "--region", "eu-west", "--label", "gpu=a100") == 0
    asked = panel.asked_first()
    assert (asked["name"], asked["region"], asked["labels"]) == ("monthly", "eu-west", {"gpu": "a100"})


def test_it_exits_as_the_program_did_and_says_what_its_node_says(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.nodes[0].behave = exits(7, sentence="The program ended with code 7.", truncated=True)
    panel.state = "failed"
    assert run(script) == 7
    said = capsys.readouterr().err
    assert "task 5 failed on atlas: The program ended with code 7." in said
    assert "the rest was cut off" in said


def test_as_json_it_is_an_open_task_and_its_privacy(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, "--json") == 0
    said = capsys.readouterr()
    task = json.loads(said.out)
    assert (task["id"], task["state"], task["exit_code"]) == (5, "succeeded", 0)
    assert task["privacy"] == "private"
    assert said.err == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "time to start: 1.2 s (median of 14); to send: 4 KiB, once over a network; speed: 2.5 MB/s"),
        (
            {"start_s": None, "bytes_per_s": None, "transfers": 4},
            "time to start: not measured yet; to send: 4 KiB, 4 times over a network; "
            "speed: not measured yet",
        ),
    ],
)
def test_what_it_costs_is_told_before_anything_is_sent(
    panel: SealedPanel,
    script: str,
    changes: dict[str, Any],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    panel.level |= changes
    panel.site.routes["POST /api/v1/reservations"] = problem(409, "No node is free.", code="no-node")
    assert run(script) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["private: The panel does not see what runs.", words, "No node is free."]


def test_asking_for_the_cost_does_not_tell_the_size(panel: SealedPanel, tmp_path: Path) -> None:
    sizes = set()
    for text in ("1", "1" * 3000):
        (tmp_path / "x.py").write_text(text)
        assert run(str(tmp_path / "x.py"), "--detach") == 0
        sizes |= {asked.query["size"] for asked in panel.site.asked if asked.path == "/api/v1/privacy"}
    assert len(sizes) == 1


def test_a_level_that_cannot_be_had_is_refused_in_the_panels_words(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.level |= {"level": "secret", "refusal": "There is no mixnet yet."}
    assert main(["run", "--privacy", "secret", script]) == 1
    assert capsys.readouterr().err == "There is no mixnet yet.\n"
    assert main(["run", "--privacy", "confidential", script]) == 1
    assert "knows no privacy level 'confidential'" in capsys.readouterr().err
    assert [asked.path for asked in panel.site.asked] == ["/api/v1/privacy"] * 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--driver", "command"], "Say what to run: --driver command -- PROGRAM ARGS"),
        (["--driver", "container", "--image", "i"], "in a container cannot be private"),
        (["--driver", "command", "--image", "i", "--", "x"], "--image is for --driver container"),
        (["--driver", "command", "--", *["x"] * 257], "This cannot be sealed as a task: "),
        (["large.wasm"], "At most"),
        (["missing.py"], "cannot be read"),
    ],
)
def test_what_the_panel_cannot_check_is_checked_here(
    panel: SealedPanel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "large.wasm").open("wb") as file:
        file.truncate(MAX_MODULE_BYTES + 1)
    assert main(["run", "--privacy", "private", *argv]) == 1
    assert words in capsys.readouterr().err
    assert panel.site.asked == []


def test_batches_are_public(panel: SealedPanel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.json"
    for content, more in (("[{}]", ["--privacy", "private"]), ('[{}, {"privacy": "private"}]', [])):
        path.write_text(content)
        assert main(["batch", str(path), *more]) == 1
        assert "Batches are public: hand in what is private by ./fog run" in capsys.readouterr().err
    assert panel.site.asked == []


# --- A panel that is not to be trusted ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [("driver", "command"), ("timeout_s", 1.5), ("cpu_millis", 1), ("memory_mb", 64), ("network", True)],
)
def test_a_panel_that_changes_the_terms_gets_nothing(
    panel: SealedPanel, script: str, name: str, told: object, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.terms = {name: told}
    assert run(script) == 1
    assert f"The panel answers {name} = {told}, but" in capsys.readouterr().err
    assert went_unsent(panel)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"privacy": "public"}, "privacy = public, but privacy = private was asked for"),
        ({"nodes": []}, "breaks the rules"),
        ({"nodes": [{"identity": "00"}]}, "breaks the rules"),
        ({"nodes": [{"identity": OTHER_KEY}] * 4}, "breaks the rules"),
    ],
)
def test_a_reservation_that_is_not_as_asked_is_refused(
    panel: SealedPanel,
    script: str,
    changes: dict[str, Any],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reserve = panel.reserve

    def answer(asked: Asked) -> Answer:
        status, body = reserve(asked)
        return status, body | changes

    panel.site.routes["POST /api/v1/reservations"] = answer
    assert run(script) == 1
    assert words in capsys.readouterr().err
    assert went_unsent(panel)


def directories(panel: SealedPanel) -> int:
    return sum(asked.path == "/api/v1/relay-directory" for asked in panel.site.asked)


def test_a_node_that_is_not_in_the_directory_is_looked_for_once_more(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.listed = [panel.nodes[1]]
    before = panel.directory()
    assert run(script) == 1
    assert f"The reserved node {panel.nodes[0].public} is not in the signed directory" in (
        capsys.readouterr().err
    )
    assert went_unsent(panel) and directories(panel) == 2
    panel.listed = panel.nodes
    panel.site.routes["GET /api/v1/relay-directory"] = [(200, before), (200, panel.directory())]
    assert run(script) == 0


def test_a_forged_directory_is_refused(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    true = decode_changes(panel.directory())
    # The panel's own node, with a key that somebody else can open.
    relays = [replace(each, sealing_key=bytes(range(32))) for each in true.upserts]
    forged = replace(true, upserts=relays)
    for answer, words in (
        (encode_changes(forged), "do not give what was signed"),
        (encode_changes(replace(true, signature=bytes(64))), "was not signed"),
        (encode_changes(replace(true, expires_at=true.made_at)), "was not signed"),
        (b"\xc0", "breaks its rules"),
    ):
        panel.site.routes["GET /api/v1/relay-directory"] = (200, answer)
        assert run(script) == 1
        said = capsys.readouterr().err
        assert "directory of nodes is refused" in said and words in said
    panel.site.routes["GET /api/v1/relay-directory"] = problem(404, "There is none yet.", code="no-directory")
    assert run(script) == 1
    assert "There is none yet." in capsys.readouterr().err
    assert went_unsent(panel)


def test_a_panel_with_another_key_is_refused_whenever_the_directory_is_used(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.site.routes["GET /api/v1/agents/panel"] = shown(OTHER_KEY)
    assert run(script) == 1
    said = capsys.readouterr().err
    assert f"shows another key than before: {OTHER_KEY}, not {PANEL_KEY.hex()}" in said
    assert f"./fog login {panel.site.url} --panel-key {OTHER_KEY}" in said
    assert went_unsent(panel)


def test_who_signed_in_before_keys_were_pins_one_on_first_use(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.settings_path().write_text(json.dumps({"url": panel.site.url, "token": "fpt_token"}))
    assert run(script) == 0
    assert f"The key of {panel.site.url} is {PANEL_KEY.hex()}" in capsys.readouterr().err
    assert settings.load() == SignedIn(panel.site.url, "fpt_token", {panel.site.url: PANEL_KEY.hex()})
    assert run(script) == 0
    assert "The key of" not in capsys.readouterr().err
    panel.site.routes["GET /api/v1/agents/panel"] = shown(OTHER_KEY)
    assert run(script) == 1


def by(node: Node, reservation: int, spec: SealedSpec) -> bytes:
    return seal_result(exits(0)(spec), spec.result_key, reservation, node.identity)


def test_a_result_by_a_node_that_it_was_not_sealed_for_is_not_opened(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, "--detach") == 0
    [spec] = panel.nodes[0].opened
    stranger = panel.nodes[1]  # the first node gave it the result's key
    for node, reservation in ((stranger, 17), (panel.nodes[0], 18)):
        panel.finish(node, reservation, by(node, reservation, spec))
        assert main(["logs", "5"]) == 1
        assert f"a result of the node {node.public} for the reservation {reservation}" in (
            capsys.readouterr().err
        )


def test_a_result_signed_by_another_or_for_another_is_refused(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, "--detach") == 0
    [spec] = panel.nodes[0].opened
    other = replace(spec, result_key=Node("other").identity.sealing_key)
    for result, words in (
        (by(panel.nodes[1], 17, spec), "was not signed by the node"),
        (by(panel.nodes[0], 18, spec), "was not signed by the node"),
        (by(panel.nodes[0], 17, other), "does not unwrap"),
        (by(panel.nodes[0], 17, spec)[:-1], "was changed since"),
        (b"", "is cut"),
    ):
        panel.finish(panel.nodes[0], 17, result)
        assert main(["logs", "5"]) == 1
        assert words in capsys.readouterr().err


def test_the_result_of_one_task_cannot_be_passed_off_as_that_of_another(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, "--detach") == 0
    panel.site.routes["GET /api/v1/tasks/6"] = (200, panel.tasks[5] | {"id": 6})
    panel.site.routes["GET /api/v1/tasks/6/sealed-result"] = (200, panel.results[5])
    assert main(["logs", "6"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "The keys of task 6" in said.err


@pytest.mark.parametrize(("state", "code"), [("succeeded", 3), ("failed", 0), ("cancelled", 0)])
def test_a_panel_that_tells_another_end_than_the_node_is_not_believed(
    panel: SealedPanel, script: str, state: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.nodes[0].behave = exits(code, stdout=b"out")
    panel.state = state
    assert run(script) == (code or 1)
    said = capsys.readouterr()
    assert said.out == "out"
    assert f"The panel calls it {state}, but its result, which its node signed, says" in said.err


def test_a_success_without_a_result_is_none(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.site.routes["GET /api/v1/tasks/5/sealed-result"] = problem(409, "None.", code="no-result")
    assert run(script) == 1
    assert "The panel calls it succeeded, but has no result of it" in capsys.readouterr().err


def test_a_task_that_never_ran_ends_as_the_panel_says(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, "--detach") == 0
    panel.tasks[5] |= {"state": "expired", "reason": "It was not sealed again in time."}
    del panel.results[5]
    assert main(["logs", "-f", "5"]) == 1
    assert "task 5 expired on atlas: It was not sealed again in time." in capsys.readouterr().err


# --- Sealing again -----------------------------------------------------------------------------------


def test_it_is_sealed_again_by_itself_and_sent_once(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.ends = False
    first, second = panel.nodes

    def reserve_again(asked: Asked) -> Answer:
        panel.nodes = [second, first]
        return panel.reserved(panel.asked_first())

    busy = [problem(409, "No node is free.", code="no-node")] * 2
    panel.site.routes["POST /api/v1/tasks/5/reservation"] = lambda asked: (
        busy.pop() if busy else reserve_again(asked)
    )
    assert run(script) == 0
    said = capsys.readouterr()
    assert said.out == "ran print(1)"
    assert "task 5 queued: none of its nodes can take it; until 2030" in said.err
    assert said.err.count("task 5 is not sealed again yet: No node is free.") == 1
    assert "task 5 is sealed again, for brook" in said.err
    assert "task 5 succeeded on brook" in said.err
    assert not first.opened and len(second.opened) == 1
    [handed_in] = [asked for asked in panel.site.asked if "sealed" in (asked.body or {})]
    assert handed_in.path == "/api/v1/reservations/17/task"


def test_it_can_be_sealed_again_by_hand(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.ends = False
    assert run(script, "--detach") == 0
    assert main(["logs", "5"]) == 0
    assert "./fog reseal 5" in capsys.readouterr().err
    assert main(["reseal", "5"]) == 0
    assert "task 5 is sealed again, for atlas" in capsys.readouterr().err
    assert main(["logs", "5"]) == 0
    assert capsys.readouterr().out == "ran print(1)"


def test_the_panel_cannot_change_the_terms_later(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.ends = False
    assert run(script, "--detach") == 0
    panel.terms = {"network": True}
    assert main(["reseal", "5"]) == 1
    assert "The panel answers network = True, but" in capsys.readouterr().err
    assert not panel.posts("/api/v1/tasks/5/reseal")


# --- Keys --------------------------------------------------------------------------------------------


def test_the_keys_are_kept_before_the_panel_can_acknowledge(panel: SealedPanel, script: str) -> None:
    found: list[int] = []

    def hand_in(asked: Asked) -> Answer:
        found.append(len(key_files()))
        return panel.hand_in(asked)

    reserve = panel.reserve

    def reserve_and_watch(asked: Asked) -> Answer:
        answer = reserve(asked)
        panel.site.routes["POST /api/v1/reservations/17/task"] = hand_in
        return answer

    panel.site.routes["POST /api/v1/reservations"] = reserve_and_watch
    assert run(script) == 0
    assert found == [1]
    [path] = key_files()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_who_was_killed_while_handing_in_can_open_the_result_all_the_same(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def taken_and_gone(asked: Asked) -> Answer:
        panel.hand_in(asked)
        return HANG_UP

    reserve = panel.reserve

    def reserve_then_die(asked: Asked) -> Answer:
        answer = reserve(asked)
        panel.site.routes["POST /api/v1/reservations/17/task"] = taken_and_gone
        return answer

    panel.site.routes["POST /api/v1/reservations"] = reserve_then_die
    assert run(script) == 1
    assert "cannot be reached" in capsys.readouterr().err
    handed_in = panel.posts("/api/v1/reservations/17/task")
    assert len(handed_in) > 1
    assert len({asked.headers["idempotency-key"] for asked in handed_in}) == 1
    assert main(["logs", "5"]) == 0
    assert capsys.readouterr().out == "ran print(1)"
    aged(key_files()[0])
    panel.site.routes["POST /api/v1/reservations"] = panel.reserve
    assert run(script, "--detach") == 0
    assert len(key_files()) == 2  # since then it is known whose keys these are


def test_keys_that_are_elsewhere_are_said_to_be(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.ends = False
    assert run(script, "--detach") == 0
    [path] = key_files()
    path.unlink()
    for argv in (["logs", "5"], ["logs", "-f", "5"], ["reseal", "5"]):
        assert main(argv) == 1
        assert "The keys of task 5, which is private, are not in" in capsys.readouterr().err
    panel.tasks[5]["content"] = None  # the task of somebody else
    assert main(["logs", "5"]) == 1
    assert "The keys of task 5" in capsys.readouterr().err


def aged(path: Path) -> float:
    old = time.time() - LOOK_AGAIN_S - 60
    os.utime(path, (old, old))
    return old


def test_keys_go_when_the_panel_has_forgotten_their_task(panel: SealedPanel, script: str) -> None:
    assert run(script, "--detach") == 0
    [path] = key_files()
    old = aged(path)
    assert run(script, "--detach") == 0
    assert path.stat().st_mtime > old  # the task is there: in a month again
    aged(path)
    panel.site.routes["GET /api/v1/tasks/5"] = problem(503, "Not now.")
    assert run(script, "--detach") == 1
    assert path in key_files()
    panel.site.routes["GET /api/v1/tasks/5"] = problem(404, "There is no task 5.")
    assert run(script, "--detach") == 0
    assert path not in key_files()


def test_keys_go_whose_task_never_was(panel: SealedPanel, script: str) -> None:
    def reserve_then_die(asked: Asked) -> Answer:
        answer = panel.reserve(asked)
        panel.site.routes[f"POST /api/v1/reservations/{panel.reservations}/task"] = HANG_UP
        return answer

    panel.site.routes["POST /api/v1/reservations"] = reserve_then_die
    assert run(script) == 1
    [path] = key_files()
    aged(path)
    assert run(script) == 1
    assert path not in key_files()


def test_a_public_task_has_nothing_to_seal(
    panel: SealedPanel, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, "--detach") == 0
    panel.tasks[5]["privacy"] = "public"
    assert main(["reseal", "5"]) == 1
    assert capsys.readouterr().err.endswith("Task 5 is public: nothing of it is sealed.\n")
