"""Where things are: great circles, and points that stand for regions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

EARTH_RADIUS_KM = 6371.0088  # mean radius, IUGG

# A large data-centre city for each region name in common use: (latitude, longitude) in degrees.
REGION_POINTS: Mapping[str, tuple[float, float]] = {
    "af-north": (30.04, 31.24),  # Cairo
    "af-south": (-33.92, 18.42),  # Cape Town
    "ap-east": (35.68, 139.69),  # Tokyo
    "ap-south": (19.08, 72.88),  # Mumbai
    "ap-southeast": (1.35, 103.82),  # Singapore
    "au-east": (-33.87, 151.21),  # Sydney
    "ca-central": (45.50, -73.57),  # Montréal
    "eu-central": (50.11, 8.68),  # Frankfurt
    "eu-north": (59.33, 18.07),  # Stockholm
    "eu-south": (45.46, 9.19),  # Milan
    "eu-west": (53.35, -6.26),  # Dublin
    "me-central": (25.20, 55.27),  # Dubai
    "sa-east": (-23.55, -46.63),  # São Paulo
    "us-central": (41.26, -95.94),  # Omaha
    "us-east": (38.90, -77.04),  # Washington
    "us-west": (45.52, -122.68),  # Portland
}


def region_point(name: str) -> tuple[float, float] | None:
    """Latitude and longitude in degrees for a region such as ``eu-west`` or ``eu-west-1``, or ``None``."""
    while name:
        if point := REGION_POINTS.get(name):
            return point
        name = name.rpartition("-")[0]
    return None


def great_circle_km(
    latitudes: NDArray[np.float64], longitudes: NDArray[np.float64], origin: tuple[float, float]
) -> NDArray[np.float64]:
    """Distances in km from ``origin``, all in degrees, by the haversine formula. NaN stays NaN."""
    lat, lon = np.radians(latitudes), np.radians(longitudes)
    lat0, lon0 = np.radians(origin[0]), np.radians(origin[1])
    half_chord = np.sin((lat - lat0) / 2) ** 2 + np.cos(lat) * np.cos(lat0) * np.sin((lon - lon0) / 2) ** 2
    distance: NDArray[np.float64] = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half_chord, 0, 1)))
    return distance
