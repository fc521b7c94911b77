"""`fogagent` and `python -m fogagent`: the agent of a machine, and the client of a person."""

from __future__ import annotations

import argparse
import sys

from fogagent import __version__, joining
from fogagent.client import commands


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; wrong usage raises SystemExit(2) as argparse does."""
    parser = argparse.ArgumentParser(
        prog="fog", description="Fogpanel: join machines to a fog network, hand in tasks, follow them."
    )
    parser.add_argument("--version", action="version", version=f"fogagent {__version__}")
    parser_of = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    joining.add_parser(parser_of)
    commands.add_parsers(parser_of)
    ours, rest = _split(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(ours)
    if rest and args.command != "run":
        parser.error(f"{args.command} takes nothing after --")
    args.rest = rest
    code: int = args.act(args)
    return code


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Ours, and what comes after the first ``--``: a task's own arguments, whatever they look like."""
    cut = argv.index("--") if "--" in argv else len(argv)
    return argv[:cut], argv[cut + 1 :]


if __name__ == "__main__":
    sys.exit(main())
