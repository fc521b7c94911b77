"""How the client shows things: results on standard output, what happens on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fogagent.client.api import Json

STATE_STYLES = {
    "queued": "yellow",
    "assigned": "cyan",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "dim",
    "expired": "red",
    "active": "green",
    "idle": "green",
    "busy": "yellow",
    "offline": "red",
    "maintenance": "dim",
    "operational": "green",
    "degraded": "yellow",
    "down": "red",
    "disabled": "dim",
    "ordered": "yellow",
    "open": "green",
    "stuck": "yellow",
    "broken": "red",
    "silent": "red",
    "gone": "red",
    "stopped": "dim",
}


def notice(text: str, style: str = "dim") -> None:
    """Something that happened. Not part of any result."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(text, style=style))


def json(value: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write(text + "\n")


def output(stream: str, text: str) -> None:
    """What a task printed, to the stream it printed it to."""
    target = sys.stderr if stream == "stderr" else sys.stdout
    target.write(text)
    target.flush()


def raw_output(stream: str, content: bytes) -> None:
    """The same, byte by byte."""
    target = sys.stderr if stream == "stderr" else sys.stdout
    target.flush()
    target.buffer.write(content)
    target.buffer.flush()


def tasks(items: Sequence[Json]) -> None:
    if not items:
        notice("No tasks.")
        return
    table = _table("ID", "Name", "State", "Driver", "Privacy", "Node", "Why")
    for task in items:
        node = task["node"]["name"] if task["node"] else ""
        table.add_row(
            str(task["id"]),
            Text(task["name"]),
            _state(task["state"]),
            task["driver"],
            task["privacy"],
            node,
            Text(why(task)),
        )
    _print(table)


def nodes(items: Sequence[Json]) -> None:
    if not items:
        notice("No nodes. The panel's Add node dialog shows how a machine joins.")
        return
    table = _table("ID", "Name", "Type", "Status", "Region", "Cores free", "Memory free", "Why")
    for node in items:
        table.add_row(
            str(node["id"]),
            Text(node["name"]),
            node["type"],
            _state(node["status"]),
            node["region"],
            f"{node['free_cpu_millis'] / 1000:g} of {node['cpu_millis'] / 1000:g}",
            f"{node['free_memory_mb']} of {node['memory_mb']} MB",
            Text(node["reason"]),
        )
    _print(table)


def tunnels(items: Sequence[Json]) -> None:
    if not items:
        notice("No tunnels. ./fog tunnels create NAME --entry NODE makes one.")
        return
    table = _table("ID", "Name", "State", "Entry", "Exit", "Hops", "Proxy on the entry", "Why")
    for tunnel in items:
        table.add_row(
            str(tunnel["id"]),
            Text(tunnel["name"]),
            _state(tunnel["state"]),
            Text(tunnel["entry"]),
            Text(tunnel["exit_node"] or tunnel["exit_region"] or "anywhere"),
            str(tunnel["hops"]),
            _proxy(tunnel),
            Text(" ".join([tunnel["sentence"], *tunnel["remarks"]]).strip()),
        )
    _print(table)


def _proxy(tunnel: Json) -> str:
    if not tunnel["port"]:
        return ""
    given = "USER:PASSWORD@" if tunnel.get("require_password") else ""
    return f"socks5h://{given}127.0.0.1:{tunnel['port']}"


def services(items: Sequence[Json]) -> None:
    table = _table("Service", "State", "Figure", "What was found")
    for service in items:
        figure = next(iter(service["figures"]), None)
        told = f"{figure['value']:g} {figure['unit']}" if figure and figure["value"] is not None else ""
        table.add_row(service["title"], _state(service["state"]), told, Text(service["sentence"]))
    _print(table)


def topology(fleet: Json) -> None:
    total, free = fleet["total"], fleet["free"]
    table = _table("Fleet", "")
    for title, counts in (("status", "by_status"), ("type", "by_type"), ("region", "by_region")):
        told = ", ".join(f"{count} {name or 'unknown'}" for name, count in sorted(fleet[counts].items()))
        table.add_row(f"Nodes by {title}", Text(told))
    table.add_row("Cores free", f"{free['cpu_millis'] / 1000:g} of {total['cpu_millis'] / 1000:g}")
    table.add_row("Memory free", f"{free['memory_mb']} of {total['memory_mb']} MB")
    table.add_row("GPUs free", f"{free['gpus']} of {total['gpus']}")
    table.add_row("Tasks", f"{fleet['running']} running, {fleet['queued']} queued")
    _print(table)


@contextmanager
def progress(title: str, size: int) -> Iterator[Callable[[str], None]]:
    """A bar on standard error; call what it gives with the state of each task that ends."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failed = 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        line = bar.add_task(title, total=size)

        def advance(state: str) -> None:
            nonlocal failed
            failed += state != "succeeded"
            bar.update(line, advance=1, description=f"{title}, {failed} failed" if failed else title)

        yield advance


def why(task: Json) -> str:
    """In words why the task is where it is, if there is anything to say."""
    if task["reason"]:
        return str(task["reason"])
    if task["needs_resealing"]:
        return f"none of its nodes can take it; until {task['reseal_by']}: ./fog reseal {task['id']}"
    waits = [f"{reason['reason']} ({reason['nodes']})" for reason in task["wait_reasons"]]
    return "waits: " + ", ".join(waits) if task["state"] == "queued" and waits else ""


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _state(state: str) -> Text:
    return Text(state, style=STATE_STYLES.get(state, ""))


def _print(table: Table) -> None:
    # Into a pipe every row stays one line: there it is read by programs.
    Console(highlight=False, width=None if sys.stdout.isatty() else 1000).print(table)
