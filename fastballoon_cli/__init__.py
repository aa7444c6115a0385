"""fastballoon: makes virtual machines give memory back fast, and measures how fast."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("fastballoon")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
