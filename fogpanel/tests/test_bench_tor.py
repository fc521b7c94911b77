"""The private Tor network of `bench onion` as far as it can be tried without tor."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from bench import onion
from bench.peers import NoPeer
from bench.through_socks import StreamFigures
from bench.tor_config import AUTHORITY, CLIENT, EXIT, MIDDLE, RELAYS, Plan, Tuning
from bench.tor_control import Control, ControlFailed
from bench.tor_network import Starting, tor_network

FINGERPRINTS = {AUTHORITY: "A" * 40, MIDDLE: "B" * 40, EXIT: "C" * 40}
GENCERT = """#!/bin/sh
while [ "$1" != -c ]; do shift; done
echo "fingerprint 8A35ED3746D1E7084163B5338674F8277673463F" > "$2"
"""
# Knows its fingerprint, and ends at once when it is to run.
TOR = """#!/bin/sh
case "$*" in *--list-fingerprint*) echo "x 4FF6 7E31 DA73 894F 97C2 CC8F E7A7 5678 9829 77F2" ;; esac
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        folder=tmp_path,
        or_port=5001,
        dir_port=5002,
        v3_identity="D" * 40,
        fingerprints=FINGERPRINTS,
        tuning=Tuning.FOR_ONE_MACHINE,
        owner=42,
    )


def figures(throughput_mb_s: float) -> onion.Figures:
    streams = StreamFigures(
        throughput_mb_s=throughput_mb_s, throughput_best_mb_s=throughput_mb_s, first_byte_p50_ms=3.0
    )
    return onion.Figures(streams, circuit_build_p50_ms=2.0)


def lines(plan: Plan, name: str, option: str) -> list[str]:
    """The values of an option, in their order."""
    split = (line.partition(" ") for line in plan.torrc(name).splitlines())
    return [value for key, _, value in split if key == option]


def test_all_know_the_one_authority_and_end_with_the_bench(plan: Plan) -> None:
    known = f"authority orport=5001 v3ident={'D' * 40} 127.0.0.1:5002 {'A' * 40}"
    for name in (*RELAYS, CLIENT):
        assert lines(plan, name, "TestingTorNetwork") == ["1"]
        assert lines(plan, name, "DirAuthority") == [known]
        assert lines(plan, name, "__OwningControllerProcess") == ["42"]
        assert lines(plan, name, "DataDirectory") == [str(plan.folder / name)]


def test_a_tuning_is_the_scheduler_of_all_and_what_the_authority_has_agreed_on(plan: Plan) -> None:
    assert [lines(plan, name, "Schedulers") for name in (*RELAYS, CLIENT)] == [["Vanilla"]] * 4
    assert lines(plan, AUTHORITY, "ConsensusParams") == ["cc_alg=2 cc_cwnd_min=1000"]
    usual = replace(plan, tuning=Tuning.AS_IT_COMES)
    assert lines(usual, CLIENT, "Schedulers") == ["KIST,KISTLite,Vanilla"]
    assert lines(usual, AUTHORITY, "ConsensusParams") == ["cc_alg=2 KISTSchedRunInterval=3"]


def test_all_listen_on_loopback_only(plan: Plan) -> None:
    assert lines(plan, AUTHORITY, "ORPort") == ["127.0.0.1:5001 IPv4Only"]
    assert lines(plan, AUTHORITY, "DirPort") == ["127.0.0.1:5002"]
    for relay in (MIDDLE, EXIT):
        assert lines(plan, relay, "ORPort") == ["127.0.0.1:auto IPv4Only"]
    assert [lines(plan, name, "SocksPort") for name in RELAYS] == [["0"]] * 3
    assert lines(plan, CLIENT, "SocksPort") == ["127.0.0.1:auto"]
    assert lines(plan, CLIENT, "ORPort") == []


def test_one_relay_is_an_exit_to_this_machine_only_and_no_entry(plan: Plan) -> None:
    assert [lines(plan, name, "ExitRelay") for name in RELAYS] == [["0"], ["0"], ["1"]]
    assert lines(plan, EXIT, "ExitPolicyRejectPrivate") == ["0"]
    assert lines(plan, EXIT, "ExitPolicy") == ["accept 127.0.0.0/8:*", "reject *:*"]
    assert lines(plan, AUTHORITY, "TestingDirAuthVoteExit") == ["C" * 40]
    assert lines(plan, AUTHORITY, "TestingDirAuthVoteGuard") == [f"{'A' * 40},{'B' * 40}"]


def test_without_tor_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(NoPeer, match=r"tor is not installed; .* apt install tor"),
        tor_network(Tuning.AS_IT_COMES),
    ):
        pass


def test_a_tor_that_does_not_run_is_no_peer_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs, temporary = tmp_path / "programs", tmp_path / "temporary"
    for folder in (programs, temporary):
        folder.mkdir()
    for name, text in {"tor": TOR, "tor-gencert": GENCERT}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with (
        pytest.raises(NoPeer, match=r"tor's \w+ ended before its relays know each other"),
        tor_network(Tuning.AS_IT_COMES),
    ):
        pass
    assert list(temporary.iterdir()) == []


def test_a_network_that_takes_too_long_is_no_peer(plan: Plan) -> None:
    plan.folder_of(CLIENT).mkdir()
    said = (
        "Nov 25 16:48:31.000 [notice] Bootstrapped 45% (requesting_descriptors): Asking for relay descriptors"
    )
    (plan.folder_of(CLIENT) / "log").write_text(f"{said}\n")
    start = Starting(Path("tor"), plan, deadline=0)
    with pytest.raises(NoPeer, match=r"not within 60 s that it works: Bootstrapped 45%.* descriptors$"):
        start.wait("it works", lambda: False, CLIENT)


def test_a_peer_that_cannot_be_had_leaves_our_figures_and_says_why_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with ExitStack() as running:
        peers = dict(onion.peer(tuning, running) for tuning in Tuning)
    [(why, none)] = peers.items()
    assert (why.startswith("no Tor: tor is not installed"), none) == (True, None)
    rows = onion.rows(figures(100.0), None, why)
    assert [(row.value, row.peer, row.peer_value) for row in rows] == [
        (100.0, why, None),
        (3.0, why, None),
        (2.0, why, None),
    ]
    assert all(row.holds() for row in rows)


# --- Its control port --------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[Control, socket.socket]]:
    """The control connection and tor's end of it."""
    near, far = socket.socketpair()
    with far, near, Control(near) as control:
        yield control, far


def test_a_circuit_is_built_when_its_own_event_says_so(ends: tuple[Control, socket.socket]) -> None:
    control, far = ends
    far.sendall(
        b"250 OK\r\n"
        b"650 CIRC 4 BUILT $A~a\r\n"
        b"250 EXTENDED 5\r\n"
        b"650 CIRC 4 FAILED $A~a REASON=TIMEOUT\r\n"
        b"650 CIRC 5 EXTENDED $A~a\r\n"
        b"650 CIRC 5 BUILT $A~a,$B~b\r\n"
    )
    assert control.build_circuit_s(["A", "B"]) > 0
    assert far.recv(1000) == b"SETEVENTS CIRC\r\nEXTENDCIRCUIT 0 A,B\r\n"


def test_a_circuit_that_fails_says_why(ends: tuple[Control, socket.socket]) -> None:
    control, far = ends
    far.sendall(b"250 OK\r\n250 EXTENDED 5\r\n650 CIRC 5 FAILED $A~a REASON=DESTROYED\r\n")
    with pytest.raises(ControlFailed, match=r"circuit 5 FAILED: .*DESTROYED"):
        control.build_circuit_s(["A", "B"])


def test_answers_are_read_by_what_they_say(ends: tuple[Control, socket.socket]) -> None:
    control, far = ends
    far.sendall(b'250-net/listeners/socks="127.0.0.1:9050"\r\n250 OK\r\n')
    assert control.socks_port() == 9050
    far.sendall(
        b'250-status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=45 TAG=x SUMMARY="Asking"\r\n250 OK\r\n'
    )
    assert control.bootstrap_percent() == 45
    far.sendall(b"552 Unrecognized key\r\n")
    with pytest.raises(ControlFailed, match="Unrecognized key"):
        control.ask("GETINFO nonsense")


def test_a_tor_that_ended_says_nothing(ends: tuple[Control, socket.socket]) -> None:
    control, far = ends
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(ControlFailed, match="it ended"):
        control.ask("GETINFO version")
