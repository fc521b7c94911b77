"""The peer of `bench onion`: a private Tor network on loopback, measured through its client's SOCKS port.

``tor_config`` says what it consists of. The time to build a circuit is from EXTENDCIRCUIT with the three
relays to the event that says BUILT.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import NoPeer
from bench.served_bytes import LOOPBACK
from bench.tor_config import AUTHORITY, CLIENT, RELAYS, Plan, Tuning
from bench.tor_control import Control
from fogpanel.supervisor.broker import free_port

PATIENCE_S = 60.0  # until the whole network works, which takes about 20
STOP_S = 5.0
LOOK_S = 0.1
DONE = 100  # percent


@dataclass(frozen=True, slots=True)
class TorNetwork:
    """One that works."""

    socks_port: int
    control: Control
    path: Sequence[str]  # fingerprints of its relays, the exit last

    @property
    def version(self) -> str:
        return self.control.ask("GETINFO version")[0].partition("=")[2]

    def build_circuit_s(self) -> float:
        return self.control.build_circuit_s(self.path)


@contextmanager
def tor_network(tuning: Tuning) -> Iterator[TorNetwork]:
    """A network in a temporary folder, all of whose processes end with this.

    Raises:
        NoPeer: tor is not installed here, or its network does not work within a minute.
    """
    tor, gencert = find("tor"), find("tor-gencert")
    deadline = time.monotonic() + PATIENCE_S
    with tempfile.TemporaryDirectory(prefix="fogpanel-tor-") as name, ExitStack() as running:
        plan = _prepare(Path(name), tuning, tor, gencert)
        start = Starting(tor, plan, deadline)
        for relay in RELAYS:
            running.enter_context(start.program(relay))
        # A client that came sooner might find no exit, and would look again only after most of a minute, or
        # one that does not go by the network's parameters yet, nor takes streams from strangers.
        start.wait("its relays know each other", lambda: _know_each_other(plan), AUTHORITY)
        running.enter_context(start.program(CLIENT))
        start.wait("the client can be asked", plan.control_is_open.exists, CLIENT)
        control = running.enter_context(Control.opened(plan.control))
        start.wait("the client has a circuit", lambda: control.bootstrap_percent() == DONE, CLIENT)
        yield TorNetwork(control.socks_port(), control, [plan.fingerprints[relay] for relay in RELAYS])


def find(program: str) -> Path:
    """Raises NoPeer."""
    if found := shutil.which(program):
        return Path(found)
    raise NoPeer(f"{program} is not installed; on Debian and Ubuntu: apt install tor")


# --- Keys ------------------------------------------------------------------------------------------


def _prepare(folder: Path, tuning: Tuning, tor: Path, gencert: Path) -> Plan:
    """Make the keys that others have to know, and write down what each process reads."""
    for name in (*RELAYS, CLIENT):
        (folder / name).mkdir(mode=0o700)
        (folder / name / "torrc").touch()
    or_port, dir_port = free_port(), free_port()
    plan = Plan(
        folder=folder,
        or_port=or_port,
        dir_port=dir_port,
        v3_identity=_certify(gencert, folder / AUTHORITY / "keys", dir_port),
        fingerprints={relay: _fingerprint(tor, folder / relay) for relay in RELAYS},
        tuning=tuning,
        owner=os.getpid(),
    )
    for name in (*RELAYS, CLIENT):
        (folder / name / "torrc").write_text(plan.torrc(name))
    return plan


def _certify(gencert: Path, keys: Path, dir_port: int) -> str:
    """Make the authority's keys and certificate; the fingerprint of its identity key."""
    keys.mkdir(mode=0o700)
    certificate = keys / "authority_certificate"
    command = [
        *(str(gencert), "--create-identity-key", "--passphrase-fd", "0", "-a", f"{LOOPBACK}:{dir_port}"),
        *("-i", str(keys / "authority_identity_key"), "-s", str(keys / "authority_signing_key")),
        *("-c", str(certificate)),
    ]
    _run(command, "it is gone within the hour\n")
    found = re.search(r"^fingerprint (\w+)$", certificate.read_text(), re.MULTILINE)
    assert found is not None, certificate.read_text()
    return found[1]


def _fingerprint(tor: Path, folder: Path) -> str:
    """Make a relay's identity keys; the fingerprint of the one that names it."""
    command = [*_reading(tor, folder / "torrc"), "--quiet", "--list-fingerprint", "--ORPort", "1"]
    printed = _run([*command, "--DataDirectory", str(folder), "--Nickname", folder.name], "")
    return "".join(printed.split()[1:])  # after the nickname ten groups of four digits


def _run(command: Sequence[str], entered: str) -> str:
    """What the program printed. Raises NoPeer."""
    done = subprocess.run(command, input=entered, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NoPeer(f"{Path(command[0]).name} failed: {said[-1] if said else 'it said nothing'}")
    return done.stdout


def _reading(tor: Path, torrc: Path) -> list[str]:
    """The command for a tor that reads nothing else: the machine's defaults are for its own."""
    return [str(tor), "--defaults-torrc", os.devnull, "-f", str(torrc)]


# --- Processes -------------------------------------------------------------------------------------


class Starting:
    """The start of a network, which must be through before ``deadline``."""

    def __init__(self, tor: Path, plan: Plan, deadline: float) -> None:
        self._tor, self._plan, self._deadline = tor, plan, deadline
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @contextmanager
    def program(self, name: str) -> Iterator[None]:
        """The process of this name for as long as it is needed."""
        folder = self._plan.folder_of(name)
        command = _reading(self._tor, folder / "torrc")
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
        ):
            self._processes[name] = process
            try:
                yield
            finally:
                _end(process)

    def wait(self, what: str, true: Callable[[], bool], whose: str) -> None:
        """Return when it is true.

        Raises:
            NoPeer: with what the log of ``whose``, or of one that ended, says last.
        """
        while not true():
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            if ended:
                raise NoPeer(f"tor's {ended[0]} ended before {what}: {self._last_words(ended[0])}")
            if time.monotonic() > self._deadline:
                raise NoPeer(f"not within {PATIENCE_S:g} s that {what}: {self._last_words(whose)}")
            time.sleep(LOOK_S)

    def _last_words(self, name: str) -> str:
        """The last is often only that the lines before it say more."""
        lines = (self._plan.folder_of(name) / "log").read_text().splitlines()
        return " ".join(line.partition("] ")[2] for line in lines[-2:]) or "it said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _know_each_other(plan: Plan) -> bool:
    """Whether each relay has a consensus, which it keeps in a file, that lists all of them."""
    kept = [plan.folder_of(relay) / "cached-microdesc-consensus" for relay in RELAYS]
    return all(
        file.exists() and len(re.findall(r"^r ", file.read_text(), re.MULTILINE)) == len(RELAYS)
        for file in kept
    )
