"""``python -m bench NAME [--json]``: measure, and print a table or one JSON object."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from bench import heartbeats, live, onion, pages, routing, start, tasks
from bench.report import Report

BENCHES: Mapping[str, Callable[[], Report]] = {
    "heartbeats": heartbeats.measure,
    "live": live.measure,
    "onion": onion.measure,
    "pages": pages.measure,
    "routing": routing.measure,
    "start": start.measure,
    "tasks": tasks.measure,
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measure a part of Fogpanel beside a peer.")
    parser.add_argument("name", choices=sorted(BENCHES))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args(argv)
    report = BENCHES[asked.name]()
    print(report.as_json() if asked.json else report.as_text())
    if report.note:
        print(report.note, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
