"""`python -m fogpanel.supervisor up|test|bench|manage`: what `./fog` hands over to."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from fogpanel.supervisor import testing, up
from fogpanel.supervisor.panel import Wishes
from fogpanel.supervisor.places import DEFAULT_DATA, ROOT, DataFolder
from fogpanel.supervisor.problems import CannotStart
from fogpanel.supervisor.running import is_running, read_running


def main(arguments: list[str]) -> int:
    # What belongs to another program is passed on as it is, its --help included.
    match arguments:
        case ["manage", *rest]:
            manage(rest)
        case ["bench", *rest]:
            os.chdir(ROOT)
            os.execv(sys.executable, [sys.executable, "-m", "bench", *rest])
    wishes = parse(arguments)
    try:
        return run(wishes)
    except CannotStart as problem:
        print(f"fog: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(wishes: argparse.Namespace) -> int:
    if wishes.command == "test":
        return testing.run(wishes.part, wishes.scale)
    if wishes.command == "prepare":
        return asyncio.run(up.prepare(DataFolder(data_folder(wishes).resolve())))
    if wishes.check:
        return asyncio.run(up.check(wishes.agents, wishes.json))
    return asyncio.run(
        up.up(Wishes(host=wishes.host, port=wishes.port, data=data_folder(wishes), agents=wishes.agents))
    )


def data_folder(wishes: argparse.Namespace) -> Path:
    data = wishes.data or Path(os.environ.get("FOGPANEL_DATA") or DEFAULT_DATA)
    return data.expanduser()


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options given; wrong ones end the program with a sentence, as argparse does."""
    commands = parser()
    wishes = commands.parse_args(arguments)
    if wishes.command == "up" and wishes.json and not wishes.check:
        commands.error("--json is for the report of --check; give both.")
    return wishes


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="./fog", description="Start the panel, or test it.")
    commands = top.add_subparsers(dest="command", required=True)
    add_up(commands.add_parser("up", help="start the panel and its local agents"))
    prepare = commands.add_parser("prepare", help="bring files and database up to date and start nothing")
    prepare.add_argument("--data", type=Path, metavar="DIR", help="the data folder (default var/)")
    test = commands.add_parser("test", help="run the tests")
    test.add_argument("part", nargs="?", choices=testing.PARTS, help="everything but the soak if left out")
    test.add_argument("--scale", type=scale, default=1.0, help="how much of the soak (default 1, the whole)")
    return top


def add_up(up_command: argparse.ArgumentParser) -> None:
    up_command.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1)")
    up_command.add_argument("--port", type=port, default=8000, help="0 takes a free one (default 8000)")
    up_command.add_argument("--data", type=Path, metavar="DIR", help="the data folder (default var/)")
    up_command.add_argument("--agents", type=count, default=5, metavar="N", help="local agents (default 5)")
    up_command.add_argument(
        "--check", action="store_true", help="start it elsewhere, try it, report and stop"
    )
    up_command.add_argument("--json", action="store_true", help="with --check: the report as one JSON object")


def port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be between 0 and 65535, was {text}.")
    return int(text)


def count(text: str) -> int:
    if not text.isdigit() or int(text) > 100:
        raise argparse.ArgumentTypeError(f"must be between 0 and 100, was {text}.")
    return int(text)


def scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 10:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 10, was {text}.")
    return value


def manage(arguments: list[str]) -> None:
    """Become `manage.py`, told where the broker of a running panel is, so that it hears of changes."""
    data = DataFolder(Path(os.environ.get("FOGPANEL_DATA") or DEFAULT_DATA))
    running = read_running(data) if is_running(data) else None
    if running and running.broker_url:
        os.environ.setdefault("REDIS_URL", running.broker_url)
    os.execv(sys.executable, [sys.executable, str(ROOT / "manage.py"), *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
