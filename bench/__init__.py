"""Measurements, always beside a peer or a bound from the same run."""
