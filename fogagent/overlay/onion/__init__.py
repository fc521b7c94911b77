"""Onion circuits: fixed cells, layered encryption, streams."""
