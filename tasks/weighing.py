"""How much each score counts in routing, as the parameters say at this moment."""

from __future__ import annotations

from coordinator.weights import Weights
from fogpanel.parameters.catalogue import WEIGHTS
from fogpanel.parameters.store import current


def weights() -> Weights:
    return Weights(**{parameter.name: current(parameter) for parameter in WEIGHTS})
