"""Results: their schema, the arithmetic of times, and how they are shown. Imports nothing from ``host``."""
