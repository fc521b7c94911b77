"""The documentation lists the variables that the code reads, all parameters, all seams, and no others."""

from __future__ import annotations

import re

from fogpanel import settings
from fogpanel.parameters.catalogue import BY_NAME
from fogpanel.parameters.parameter import Parameter
from fogpanel.supervisor.places import ROOT

SETTINGS = ROOT / "docs" / "settings.md"
DESIGN = ROOT / "docs" / "design.md"

READ = re.compile(
    r"""(?:env\.(?:text|flag|number|names)|os\.environ\.get)\(\s*"([A-Z][A-Z_]+)"|os\.environ\["([A-Z][A-Z_]+)"\]"""
)
FOLDERS = ("fogpanel", "nodes", "tasks", "services", "coordinator", "fogagent", "bench", "e2e")
NOT_OURS = {"PATH"}


def read_by_the_code() -> set[str]:
    sources = (
        file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py") if "tests" not in file.parts
    )
    found = (match for file in sources for match in READ.findall(file.read_text()))
    return {first or second for first, second in found} - NOT_OURS


def documented() -> set[str]:
    return set(re.findall(r"^\| `([A-Z_]+)` \|", SETTINGS.read_text(), re.MULTILINE))


def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    assert read_by_the_code() == documented()


def test_every_parameter_is_documented_with_its_default_and_range() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+?) \| (.+?) \| .+ \|$", SETTINGS.read_text(), re.MULTILINE)
    assert rows == [(name, _default(each), _range(each)) for name, each in BY_NAME.items()]


def _default(parameter: Parameter) -> str:
    return f"`{parameter.variable}`" if parameter.variable else parameter.told(parameter.default)


def _range(parameter: Parameter) -> str:
    return f"{parameter.least:,.10g} to {parameter.told(parameter.most)}"


def test_every_seam_is_described() -> None:
    described = DESIGN.read_text().partition("### Seams")[2].partition("\n#")[0]
    seams = {name for name, value in vars(settings).items() if name.isupper() and _names_ours(value)}
    assert set(re.findall(r"`([A-Z_]+)`", described)) == seams


def _names_ours(value: object) -> bool:
    """Whether it names functions of ours, or a table or list of them."""
    if isinstance(value, dict):
        return any(_names_ours(each) for each in value.values())
    if isinstance(value, list):
        return any(_names_ours(each) for each in value)
    return isinstance(value, str) and re.fullmatch(r"(nodes|tasks|services)\.\w+\.[\w.]+", value) is not None
