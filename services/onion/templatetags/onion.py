"""The rules of a path as pages list them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from fogpanel.templatetags.fog import state_pill
from services.onion.circuits import Rule

register = template.Library()


@register.simple_tag
def rules_in_short(rules: Sequence[Rule]) -> SafeString:
    """Items of a list: how many rules are kept and how many are waived, and each that is broken with what it
    says."""
    counted = Counter(rule.state for rule in rules)
    items = [_counted(state, counted[state]) for state in ("passed", "waived") if counted[state]]
    items += [_broken(rule.name, rule.sentence) for rule in rules if rule.state == "failed"]
    return mark_safe("".join(items))  # each is escaped


@lru_cache(maxsize=64)
def _counted(state: str, count: int) -> SafeString:
    words = f"keeps {count} rule{'' if count == 1 else 's'}" if state == "passed" else f"{count} waived"
    return format_html("<li>{}</li>", state_pill(state, words))


@lru_cache(maxsize=1024)
def _broken(name: str, sentence: str) -> SafeString:
    told = '<li>{} <span class="muted small break">failed: {}</span></li>'
    return format_html(told, state_pill("failed", name), sentence)


@register.simple_tag
def rules_in_full(rules: Iterable[Rule]) -> SafeString:
    """Items of a list: what each rule says. Without icons, which were most of a page of fifty circuits."""
    return mark_safe("".join(_in_full(rule.name, rule.state, rule.sentence) for rule in rules))


@lru_cache(maxsize=1024)
def _in_full(name: str, state: str, sentence: str) -> SafeString:
    told = '<li class="break"><b>{}</b> {}: {}</li>' if sentence else '<li class="break"><b>{}</b> {}</li>'
    return format_html(told, name, state, sentence)
