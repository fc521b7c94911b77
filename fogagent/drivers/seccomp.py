"""A seccomp filter for `command` jobs, assembled here: the kernel interfaces no job has use for.

bubblewrap's namespaces keep a job from seeing the machine; the filter keeps it from the parts of the
kernel where escapes were found: mounting, new namespaces, tracing, keys, BPF, io_uring, modules.
Refused calls fail with EPERM, so that programs which merely try them go on.
Format: seccomp(2), linux/filter.h; call numbers: the kernel's syscall tables.
"""

from __future__ import annotations

import errno
import platform
import struct

LOAD_WORD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
AT_NUMBER, AT_ARCHITECTURE, AT_ARGUMENT_0 = 0, 4, 16  # offsets in struct seccomp_data

AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
NEW_NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET

CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
# clone3 keeps its flags in memory, where a filter cannot look; libc falls back to clone on ENOSYS.

REFUSED: dict[str, tuple[int | None, int | None]] = {  # name: (x86_64, aarch64)
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}


class UnknownArchitectureError(Exception):
    """No call numbers are known for this processor."""


def seccomp_filter(machine: str | None = None) -> bytes:
    """The filter for ``machine`` (as in `platform.machine()`, by default this one).

    Raises:
        UnknownArchitectureError: it is neither x86_64 nor aarch64.
    """
    machine = machine or platform.machine()
    if machine not in AUDIT_ARCHITECTURE:
        raise UnknownArchitectureError(f"There is no seccomp filter for {machine} processors.")
    return b"".join(_assemble(_program(machine)))


Instruction = tuple[int, int, str, str]
"""Code, operand, and where to go on yes and on no: a label, or "" for the next instruction."""


def _program(machine: str) -> list[Instruction | str]:
    """Instructions, and labels for those that follow them."""
    numbers = sorted(pair[machine == "aarch64"] or 0 for pair in REFUSED.values())
    x32 = [(JUMP_GREATER_EQUAL, X32_BIT, "refuse", "")] if machine == "x86_64" else []
    return [
        (LOAD_WORD, AT_ARCHITECTURE, "", ""),
        (JUMP_EQUAL, AUDIT_ARCHITECTURE[machine], "", "kill"),
        (LOAD_WORD, AT_NUMBER, "", ""),
        *x32,
        *((JUMP_EQUAL, number, "refuse", "") for number in numbers if number),
        (JUMP_EQUAL, CLONE3, "missing", ""),
        (JUMP_EQUAL, CLONE[machine], "", "allow"),
        (LOAD_WORD, AT_ARGUMENT_0, "", ""),
        (JUMP_ANY_BIT, NEW_NAMESPACE_FLAGS, "refuse", "allow"),
        "allow",
        (RETURN, ALLOW, "", ""),
        "refuse",
        (RETURN, ERRNO | errno.EPERM, "", ""),
        "missing",
        (RETURN, ERRNO | errno.ENOSYS, "", ""),
        "kill",
        (RETURN, KILL_PROCESS, "", ""),
    ]


def _assemble(program: list[Instruction | str]) -> list[bytes]:
    """Resolve labels to jumps, which count the instructions skipped, and encode sock_filter structs."""
    labels: dict[str, int] = {}
    instructions: list[Instruction] = []
    for item in program:
        if isinstance(item, str):
            labels[item] = len(instructions)
        else:
            instructions.append(item)

    def skip(here: int, label: str) -> int:
        return labels[label] - here - 1 if label else 0

    return [
        struct.pack("=HBBI", code, skip(here, yes), skip(here, no), operand)
        for here, (code, operand, yes, no) in enumerate(instructions)
    ]
