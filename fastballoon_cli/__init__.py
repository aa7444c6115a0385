"""fastballoon: makes virtual machines give memory back fast, and measures how fast."""

#: Also the distribution's, see pyproject.toml.
__version__ = "0.1.0"
