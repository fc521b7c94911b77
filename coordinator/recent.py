"""Which networks private work used last, so that the next piece goes elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REMEMBERED = 8  # a network counts as fresh again after so many other choices


class RecentNetworks:
    """A turn counter and, for each network code, the turn in which it was last used."""

    def __init__(self) -> None:
        self._turn = 0
        self._used_in = np.full(64, -REMEMBERED, np.int64)

    def note(self, network: int) -> None:
        self._make_room(network)
        self._turn += 1
        self._used_in[network] = self._turn

    def freshness(self, networks: NDArray[np.int64]) -> NDArray[np.float64]:
        """0 for the network used last, 1 for those not used in the last ``REMEMBERED`` choices."""
        if len(networks):
            self._make_room(int(networks.max()))
        by_network = np.minimum(self._turn - self._used_in, REMEMBERED) / REMEMBERED
        fresh: NDArray[np.float64] = by_network[networks]
        return fresh

    def _make_room(self, network: int) -> None:
        if network >= len(self._used_in):
            wider = np.full(2 * network + 1, -REMEMBERED, np.int64)
            wider[: len(self._used_in)] = self._used_in
            self._used_in = wider
