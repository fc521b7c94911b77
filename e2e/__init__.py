"""Tests of the real thing: processes, faults, browsers."""
