"""The drawing of a bench: well-formed, every line there, and larger values where larger values belong."""

from __future__ import annotations

from xml.etree import ElementTree

from bench.plot import loglog

SVG = "{http://www.w3.org/2000/svg}"


def test_lines_over_logarithmic_axes() -> None:
    lines = {"flat": [(10, 50), (1000, 50), (100_000, 50)], "rising <fast>": [(10, 1), (100_000, 10_000)]}
    drawn = ElementTree.fromstring(loglog("Cost & size", "nodes", "µs", lines))
    flat, rising = [
        [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        for line in drawn.iter(f"{SVG}polyline")
    ]
    assert len({y for _, y in flat}) == 1
    assert flat[1][0] - flat[0][0] == flat[2][0] - flat[1][0]  # a hundredfold is as wide everywhere
    assert rising[0][1] > flat[0][1] > rising[1][1]  # pixels count from the top
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"Cost & size", "nodes", "µs", "flat", "rising <fast>", "100,000"} <= set(texts)
