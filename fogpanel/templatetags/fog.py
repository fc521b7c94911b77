"""The components that pages are made of: states, bars, sparklines, times, and words for amounts.

Each inclusion tag has its fragment in ``templates/fogpanel/``, whose first line names its inputs.
Nothing here depends on who looks, so that live fragments are the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

import lucide
from django import template
from django.utils import timezone
from django.utils.html import conditional_escape, escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from fogpanel.models import Event

register = template.Library()

# State → (tone, icon). Tones: ok, warn, bad, busy, mute.
STATES: dict[str, tuple[str, str]] = {
    # services
    "operational": ("ok", "circle-check"),
    "degraded": ("warn", "triangle-alert"),
    "down": ("bad", "circle-x"),
    "disabled": ("mute", "circle-pause"),
    "unknown": ("mute", "circle-dashed"),
    # nodes
    "active": ("ok", "circle-check"),
    "idle": ("ok", "circle-check"),
    "busy": ("busy", "gauge"),
    "offline": ("bad", "circle-x"),
    "maintenance": ("mute", "wrench"),
    "waiting": ("warn", "circle-dashed"),
    "archived": ("mute", "archive"),
    "removed": ("mute", "trash-2"),
    # tasks
    "queued": ("mute", "circle-dashed"),
    "assigned": ("busy", "route"),
    "running": ("busy", "play"),
    "succeeded": ("ok", "circle-check"),
    "failed": ("bad", "circle-x"),
    "cancelled": ("mute", "circle-pause"),
    "expired": ("warn", "triangle-alert"),
    # rules of a path
    "passed": ("ok", "circle-check"),
    "waived": ("mute", "circle-minus"),
}
SUBJECT_PAGES = {
    "node": "/nodes/{}",
    "task": "/tasks/{}",
    "tunnel": "/services/vpn_coordinator/tunnels/{}",
}
"""Of what events are about, where that has a page."""
SPARK_W, SPARK_H = 100.0, 30.0
BEAT_PITCH = 10


@register.filter
def tone(state: str) -> str:
    return STATES[state][0]


@register.simple_tag
def icon(name: str, size: int = 18) -> SafeString:
    """A Lucide icon that screen readers skip; the word beside it says what it means."""
    return _drawn(name, size)


@cache
def _drawn(name: str, size: int) -> SafeString:
    """Kept, since a page of fifty rows draws the same few icons a hundred times."""
    return mark_safe(lucide._render_icon(name, size, aria_hidden="true"))


# Pills and bars stand in every row of a list: as fragments they took a third of the time of a page.


@register.simple_tag
def state_pill(state: str, word: str = "", testid: str = "", id: str = "", title: str = "") -> SafeString:
    """Icon and word of a node's, task's or service's state."""
    return _pill(str(state) or "unknown", word, testid, id, title)


# The rules of some hundred circuits draw the same few a thousand times. Typed, since what is marked safe is
# equal to the same text that is not.
@lru_cache(maxsize=4096, typed=True)
def _pill(state: str, word: str, testid: str, id: str, title: str) -> SafeString:
    state_tone, icon_name = STATES[state]
    named = {"id": id, "data-testid": testid, "data-state": state, "title": title}
    attributes = format_html_join("", ' {}="{}"', ((name, value) for name, value in named.items() if value))
    inside = icon(icon_name, 14), word or words(state)
    return format_html('<span class="pill {}"{}>{}{}</span>', state_tone, attributes, *inside)


@register.simple_tag
def stacked_bar(parts: Iterable[tuple[str, float]], label: str, total: float | None = None) -> SafeString:
    """``parts`` are (tone, amount); ``total`` is the whole where the parts do not fill it."""
    parts = list(parts)
    whole = total if total is not None else sum(amount for _, amount in parts)
    drawn, x = "", 0.0
    for part_tone, amount in parts:
        width = 100.0 * amount / whole if whole else 0.0
        drawn += _part(part_tone, x, width)
        x += width
    return _bar(drawn, label)


@register.simple_tag
def meter(used: float, total: float, label: str, tone: str = "accent") -> SafeString:
    """How much of ``total`` is used, as a bar of one part."""
    share = 100.0 * min(1.0, used / total) if total else 0.0
    return _bar(_part(tone, 0.0, share), label)


# Two hundred of these stand in a list of nodes, so only what could need it is escaped.


def _part(tone: str, x: float, width: float) -> str:
    """Of a whole that is 100 wide."""
    return f'<rect class="{escape(tone)}" x="{x:.2f}" width="{width:.2f}" height="6"/>'


def _bar(drawn: str, label: str) -> SafeString:
    return SafeString(
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" '
        f'aria-label="{conditional_escape(label)}">{drawn}</svg>'
    )


@register.simple_tag
def load_bars(reserved: float, total: float, measured: float, what: str) -> SafeString:
    """What is reserved of a share, and what the machine measures (percent)."""
    bars = meter(reserved, total, f"{what} reserved") + meter(measured, 100, f"{what} measured", "mute")
    return SafeString(f'<div class="load-bars">{bars}</div><small>{measured:.0f} % measured</small>')


@register.inclusion_tag("fogpanel/_sparkline.html")
def sparkline(values: Sequence[float | None], label: str) -> dict[str, str]:
    """Drawn from zero, so that height means amount; fewer than two values draw nothing."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return {"line": "", "area": "", "label": label}
    top = max(max(known), 1e-9)
    step = SPARK_W / (len(known) - 1)
    points = [
        f"{i * step:.2f},{SPARK_H - 1 - (SPARK_H - 2) * value / top:.2f}" for i, value in enumerate(known)
    ]
    line = " ".join(points)
    return {"line": line, "area": f"0,{SPARK_H} {line} {SPARK_W},{SPARK_H}", "label": label}


@register.inclusion_tag("fogpanel/_beats.html")
def beats(states: Sequence[str], label: str, slots: int = 48) -> dict[str, Any]:
    """The last ``slots`` states, oldest first; slots of before the history stay empty."""
    shown = ["none"] * (slots - len(states)) + list(states[-slots:])
    return {
        "bars": [(state, i * BEAT_PITCH) for i, state in enumerate(shown)],
        "width": slots * BEAT_PITCH - 2,
        "label": label,
    }


@register.inclusion_tag("fogpanel/_empty_state.html")
def empty_state(icon: str, title: str, sentence: str, href: str = "", action: str = "") -> dict[str, str]:
    return {"icon_name": icon, "title": title, "sentence": sentence, "href": href, "action": action}


@register.inclusion_tag("fogpanel/_pager.html")
def pager(newer: str, older: str) -> dict[str, str]:
    return {"newer": newer, "older": older}


@register.inclusion_tag("fogpanel/_copy_line.html")
def copy_line(text: str, id: str, testid: str = "") -> dict[str, str]:
    return {"text": text, "id": id, "testid": testid}


@register.simple_tag
def figure(measured: dict[str, Any]) -> SafeString:
    """A probe's figure with its unit: {value, unit}."""
    value = measured["value"]
    amount = "—" if value is None else f"{value:,.10g}"
    return format_html("{} <span>{}</span>", amount, measured["unit"] if value is not None else "")


@register.simple_tag
def ago(at: datetime | None) -> SafeString | str:
    """How long ago, counting in the browser."""
    if at is None:
        return "never"
    seconds = (timezone.now() - at).total_seconds()
    return SafeString(f'<time datetime="{at.isoformat()}" data-ago>{_ago(seconds)}</time>')


@register.simple_tag
def clock(at: datetime | None, style: str = "") -> SafeString | str:
    """The time of day (``style="full"``: with the date), UTC until the browser makes it local."""
    if at is None:
        return "—"
    text = f"{at:%F %T} UTC" if style == "full" else f"{at:%T}"
    return format_html('<time datetime="{}" data-clock="{}">{}</time>', at.isoformat(), style, text)


@register.simple_tag
def left(until: datetime) -> SafeString:
    """How long until then, counting in the browser."""
    seconds = (until - timezone.now()).total_seconds()
    return format_html('<time datetime="{}" data-left>{}</time>', until.isoformat(), _left(seconds))


def _left(seconds: float) -> str:
    return f"in {duration(float(round(seconds)))}" if seconds >= 1 else "now"


def _ago(seconds: float) -> str:
    if seconds < 1:
        return "now"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds as a person writes them: 0.3 ms, 12 ms, 8.4 s, 3 min 5 s, 2 h 10 min."""
    if seconds is None:
        return "—"
    if seconds == 0:
        return "0 s"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s".removesuffix(" 0 s")
    return f"{whole // 3600} h {whole % 3600 // 60} min".removesuffix(" 0 min")


@register.filter
def megabytes(amount_mb: float) -> str:
    """Megabytes in the unit that suits: 512 MB, 2.0 GB, 144 GB, 1.4 TB."""
    amount, unit = amount_mb, "MB"
    for larger in ("GB", "TB"):
        if amount >= 1024:
            amount, unit = amount / 1024, larger
    return f"{amount:.1f} {unit}" if unit != "MB" and amount < 10 else f"{amount:.0f} {unit}"


@register.filter
def cores(cpu_millis: int) -> str:
    """Thousandths of a core as cores: 0.25, 2, 1.5."""
    return f"{cpu_millis / 1000:,.3f}".rstrip("0").rstrip(".")


@register.filter
def capped(count: int) -> str:
    """A count as lists state it: above 1,000 nobody counts on."""
    return "1,000+" if count > 1000 else f"{count:,}"


@register.filter
def words(name: str) -> str:
    """A name of the code in words: least_loaded → Least loaded."""
    text = str(name).replace("_", " ")
    return text[:1].upper() + text[1:]


@register.simple_tag
def subject_link(event: Event) -> SafeString | str:
    """What an event is about, linked where it has a page."""
    name = f"{event.subject_kind} {event.subject_id}"
    page = SUBJECT_PAGES.get(event.subject_kind)
    if page is None:
        return name
    return format_html('<a href="{}">{}</a>', page.format(event.subject_id), name)


@register.filter
def differences(event: Event) -> list[tuple[str, Any, Any]]:
    """(name, before, after) of what an event changed."""
    before, after = event.before or {}, event.after or {}
    return [
        (name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
