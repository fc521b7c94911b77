"""How the private Tor network of `bench onion` is configured: the texts that its four processes read.

One directory authority, which is a relay as well, as the authorities of test networks are; two more relays,
one of them the exit; one client. So every circuit has the same three hops, the exit last, each a process of
its own.

Tor is made for many circuits over slow links. Its scheduler looks at what there is to send only every few
milliseconds (https://gitlab.torproject.org/tpo/core/tor/-/issues/29427), and a circuit's window shrinks to
the 124 cells that fill such a link. On one machine both leave the processors idle, so there are two peers:
tor as it comes, with the parameters of the public network, and tuned for one machine by its own options: a
scheduler that sends at once, and windows of at least 1,000 cells, the most of the older flow control.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

AUTHORITY, MIDDLE, EXIT, CLIENT = "authority", "middle", "exit", "client"
RELAYS = (AUTHORITY, MIDDLE, EXIT)  # in the order of a path


class Tuning(Enum):
    """Its schedulers, of which the first that the system has is taken, parameters of the consensus, and both
    in words."""

    AS_IT_COMES = (
        "KIST,KISTLite,Vanilla",
        "cc_alg=2 KISTSchedRunInterval=3",
        "as it comes (looks every 3 ms what to send)",
    )
    FOR_ONE_MACHINE = (
        "Vanilla",
        "cc_alg=2 cc_cwnd_min=1000",
        "tuned for one machine (sends at once, windows of 1,000 cells and more)",
    )


# The owner is the process that started tor, which ends soon after it, however that may have ended.
EVERYBODY = """\
TestingTorNetwork 1
AssumeReachable 1
Nickname {name}
DataDirectory {folder}
DirAuthority authority orport={or_port} v3ident={v3_identity} 127.0.0.1:{dir_port} {authority}
Schedulers {schedulers}
__OwningControllerProcess {owner}
"""

RELAY = """\
Address 127.0.0.1
ORPort 127.0.0.1:{or_port} IPv4Only
SocksPort 0
"""

# It votes about as often as tor can, so that the relays are in a consensus soon after they have told it of
# themselves. An exit to loopback does not count as one by itself. It must be no entry: a client that chose it
# for that would have no path.
VOTING = """\
DirPort 127.0.0.1:{dir_port}
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
ContactInfo nobody@localhost
ConsensusParams {parameters}
TestingV3AuthInitialVotingInterval 5
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 10
V3AuthVoteDelay 2
V3AuthDistDelay 2
TestingDirAuthVoteExit {exit}
TestingDirAuthVoteExitIsStrict 1
TestingDirAuthVoteGuard {authority},{middle}
TestingDirAuthVoteGuardIsStrict 1
"""

INWARD = """\
ExitRelay 0
"""

# Nobody but this machine can be reached through it.
EXITING = """\
ExitRelay 1
ExitPolicyRejectPrivate 0
ExitPolicy accept 127.0.0.0/8:*
ExitPolicy reject *:*
"""

# Short descriptors tell of an exit's ports only, and count those of an exit to loopback as none. Conflux
# would spread a stream over two circuits, for which there are not relays enough. A learned timeout would end
# the slow circuits, whose times count.
ASKING = """\
SocksPort 127.0.0.1:auto
ControlSocket {control}
ControlPortWriteToFile {control_is_open}
UseMicrodescriptors 0
ConfluxEnabled 0
LearnCircuitBuildTimeout 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What has to be known of a network before any of it runs; ``fingerprints`` are those of its relays."""

    folder: Path
    or_port: int  # both of the authority
    dir_port: int
    v3_identity: str
    fingerprints: Mapping[str, str]
    tuning: Tuning
    owner: int

    def folder_of(self, name: str) -> Path:
        return self.folder / name

    @property
    def control(self) -> Path:
        """The client's control socket."""
        return self.folder_of(CLIENT) / "control"

    @property
    def control_is_open(self) -> Path:
        """A file that the client writes when its control socket takes connections."""
        return self.folder_of(CLIENT) / "control-is-open"

    def torrc(self, name: str) -> str:
        """What the process of this name reads."""
        schedulers, parameters, _ = self.tuning.value
        known = {
            "name": name,
            "folder": self.folder_of(name),
            "dir_port": self.dir_port,
            "v3_identity": self.v3_identity,
            "schedulers": schedulers,
            "parameters": parameters,
            "owner": self.owner,
            "control": self.control,
            "control_is_open": self.control_is_open,
            **self.fingerprints,
        }
        own_port = self.or_port if name == AUTHORITY else "auto"
        return EVERYBODY.format(or_port=self.or_port, **known) + "".join(
            part.format(or_port=own_port, **known) for part in PARTS[name]
        )


PARTS: Mapping[str, tuple[str, ...]] = {
    AUTHORITY: (RELAY, VOTING, INWARD),
    MIDDLE: (RELAY, INWARD),
    EXIT: (RELAY, EXITING),
    CLIENT: (ASKING,),
}
