"""The panel's own processes, as they would be started by hand."""

from __future__ import annotations

import sys

from fogpanel.supervisor.child import Program

WEB, WORKER, BEAT = "web", "worker", "beat"
PYTHON = (sys.executable, "-P", "-m")
CELERY = (*PYTHON, "celery", "--quiet", "--app", "fogpanel")


def web_server(listener: int, *, behind_proxy: bool) -> Program:
    """Daphne on a listening socket that it is lent; agents' sockets stay open as long as they like.

    A proxy tells whom it speaks for; without one nobody is believed who says so.
    """
    argv = [
        *(*PYTHON, "fogpanel.web_server", "--fd", str(listener), "-v", "0", "--no-server-name"),
        *("--websocket_timeout", "-1", "--application-close-timeout", "2"),
        *("--websocket_connect_timeout", "30"),  # 5 s otherwise, too short with a whole fleet at the door
        *(["--proxy-headers"] if behind_proxy else []),
        "fogpanel.asgi:application",
    ]
    return Program(name=WEB, argv=tuple(argv), stop_s=2.3, pass_fds=(listener,))


def worker() -> Program:
    """A pool of threads: jobs wait for the database, and there is no process below to be left behind."""
    argv = [
        *(*CELERY, "worker", "--queues", "clock,work", "--pool", "threads", "--concurrency", "4"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"),
    ]
    # Its messages are JSON, which root may read as safely as anybody.
    env = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser"}
    return Program(name=WORKER, argv=tuple(argv), stop_s=3.5, env=env)


def beat() -> Program:
    return Program(name=BEAT, argv=(*CELERY, "beat", "--pidfile", "", "--loglevel", "WARNING"), stop_s=3.5)
