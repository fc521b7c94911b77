"""`fogagent` and `python -m fogagent`: the agent of a machine, and the client of a person."""

from __future__ import annotations

import argparse
import sys

from fogagent import __version__, joining


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; wrong usage raises SystemExit(2) as argparse does."""
    parser = argparse.ArgumentParser(
        prog="fog", description="Fogpanel: join machines to a fog network, hand in tasks, follow them."
    )
    parser.add_argument("--version", action="version", version=f"fogagent {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    joining.add_parser(commands)
    args = parser.parse_args(argv)
    code: int = args.act(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
