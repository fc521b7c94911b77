"""A process that spools reports and says which are safe, until killed or out of input: `spooling.py PATH`."""

from __future__ import annotations

import sys
from pathlib import Path

from fogagent.spool import Entry, Spool, Stored


def main() -> None:
    spool = Spool(Path(sys.argv[1]))

    def say(reports: list[Stored]) -> None:
        sys.stdout.write("".join(f"{report.seq}\n" for report in reports))
        sys.stdout.flush()

    spool.start(on_stored=say, on_trouble=sys.exit, on_broken=lambda error: sys.exit(str(error)))
    for number in range(1_000_000):
        spool.keep([Entry(spool.first_seq + number, attempt=number + 1, final=True, body=b"x" * 100)])
    sys.stdin.read()


if __name__ == "__main__":
    main()
