"""How much each score counts within its strategy.

Only the proportions matter: the weights of one strategy are shared out so that they add up to 1. None may
be negative, and at least one of each strategy must be more than 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType

from coordinator.errors import BadField


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The default is how routing weighs where nobody has decided otherwise.

    ``affinity_fit_*`` share out the fit between the kinds of resource that a node has.
    """

    affinity_fit: float = 70
    affinity_match: float = 30
    affinity_fit_cpu: float = 25
    affinity_fit_memory: float = 25
    affinity_fit_disk: float = 25
    affinity_fit_gpu: float = 25
    proximity_region: float = 60
    proximity_nearness: float = 39
    proximity_load: float = 1
    privacy_reputation: float = 50
    privacy_apart: float = 20
    privacy_fresh: float = 20
    privacy_load: float = 10

    def __post_init__(self) -> None:
        values = asdict(self)
        for name, value in values.items():
            if not value >= 0:
                raise BadField(name, f"must not be negative, was {value:g}.")
        for names in TOGETHER.values():
            if not sum(values[name] for name in names):
                raise BadField(names[0], all_zero(names))


TOGETHER: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "affinity": ("affinity_fit", "affinity_match"),
        "affinity_fit": (
            "affinity_fit_cpu",
            "affinity_fit_memory",
            "affinity_fit_disk",
            "affinity_fit_gpu",
        ),
        "proximity": ("proximity_region", "proximity_nearness", "proximity_load"),
        "privacy": ("privacy_reputation", "privacy_apart", "privacy_fresh", "privacy_load"),
    }
)
"""The weights that share one whole."""

NAMES = tuple(field.name for field in fields(Weights))


def all_zero(names: Sequence[str]) -> str:
    """The rule that is broken where all of these weights are 0."""
    return f"at least one of {', '.join(names)} must be more than 0, or nothing would decide."


def shares(weights: Iterable[float]) -> list[float]:
    """The same proportions, adding up to 1."""
    weights = list(weights)
    whole = sum(weights)
    return [weight / whole for weight in weights]
