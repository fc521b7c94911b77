"""The program that runs on every node, and the command-line client. No Django in here."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("fogagent")
except PackageNotFoundError:  # run from a checkout
    __version__ = "0.1.0"
