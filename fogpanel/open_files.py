"""How many files, and so sockets, this process may have open."""

from __future__ import annotations

import resource

import structlog

FEW = 4096  # what 3,000 agents and as many browsers as a small team has need, and some
PLENTY = 65_536  # where the hard limit is practically none, some programs walk through all of it

log = structlog.get_logger(__name__)


def allow_many() -> int:
    """Raise the soft limit to the hard one, as far as there is any use in it; gives the new limit.

    The soft limit, often 1024, is that low for programs that use `select`, of which we are none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = PLENTY if hard == resource.RLIM_INFINITY else min(hard, PLENTY)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return PLENTY if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def allow_many_agents() -> None:
    """As `allow_many`, for the process that holds agents' sockets; says so where they are few."""
    if (allowed := allow_many()) < FEW:
        log.warning(
            f"This machine lets a process open {allowed} files, enough for about {allowed * 2 // 3} agents. "
            f"For more, raise the hard limit to at least {FEW} (`ulimit -Hn`, LimitNOFILE= in systemd)."
        )
