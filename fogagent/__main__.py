"""`fogagent` and `python -m fogagent`: the agent of a machine, and the client of a person."""

from __future__ import annotations

import argparse
import pkgutil
import sys

from fogagent import __version__, options
from fogagent.client import options as client_options


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; wrong usage raises SystemExit(2) as argparse does."""
    parser = argparse.ArgumentParser(
        prog="fog", description="Fogpanel: join machines to a fog network, hand in tasks, follow them."
    )
    parser.add_argument("--version", action="version", version=f"fogagent {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    options.add_parser(commands)
    client_options.add_parsers(commands)
    ours, rest = _split(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(ours)
    if rest and args.command != "run":
        parser.error(f"{args.command} takes nothing after --")
    args.rest = rest
    # Only now: an agent needs no HTTP client for people, and a client no WebAssembly.
    code: int = pkgutil.resolve_name(args.act)(args)
    return code


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Ours, and what comes after the first ``--``: a task's own arguments, whatever they look like."""
    cut = argv.index("--") if "--" in argv else len(argv)
    return argv[:cut], argv[cut + 1 :]


if __name__ == "__main__":
    sys.exit(main())
