"""What a bench prints: rows of one measured value each, its bar, and the peer it was measured beside."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path


class Better(Enum):
    HIGHER = "at least"
    LOWER = "at most"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``bar`` is the budget in the same unit, ``peer`` who else was measured (or why nobody)."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    better: Better = Better.HIGHER
    peer: str | None = None
    peer_value: float | None = None

    def holds(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value >= self.bar if self.better is Better.HIGHER else self.value <= self.bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``note`` is for whoever looks on, and no part of the figures."""

    bench: str
    rows: Sequence[Row]
    note: str = ""

    def as_json(self) -> str:
        return json.dumps(
            {"bench": self.bench, "machine": machine(), "rows": [_plain(row) for row in self.rows]}
        )

    def as_text(self) -> str:
        heading: tuple[str, ...] = ("", "value", "unit", "bar", "", "peer")
        lines = [heading] + [_cells(row) for row in self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        aligned = (
            "  ".join(
                cell.rjust(width) if column == 1 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )
        facts = ", ".join(f"{name} {value}" for name, value in machine().items())
        return "\n".join([f"{self.bench}: {facts}", *aligned])


def p95(values: Sequence[float]) -> float:
    return percentile(values, 95)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that ``share`` percent of them do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * share / 100) - 1)]


def machine() -> dict[str, str | int]:
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else "unknown"


def _plain(row: Row) -> dict[str, object]:
    plain = asdict(row)
    del plain["better"]
    return plain


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {None: "", True: "holds", False: "MISSED"}[row.holds()]
    bar = "" if row.bar is None else f"{row.better.value} {_number(row.bar)}"
    beside = row.peer or ""
    if row.peer_value is not None:
        beside = f"{beside}: {_number(row.peer_value)}"
    return row.what, _number(row.value), row.unit, bar, verdict, beside


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
