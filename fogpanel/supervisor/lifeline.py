"""Children that do not outlive the supervisor, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def bound_to(parent: int) -> Callable[[], None]:
    """What a child must run between fork and exec to be killed by the kernel when ``parent`` ends.

    Linux only, where the kernel offers it; elsewhere children end with an orderly stop only. The
    signal follows the *thread* that forked, so children are started from the main thread.
    """

    def bind() -> None:
        if _libc is None:
            return
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the kernel was told
            os._exit(1)

    return bind
