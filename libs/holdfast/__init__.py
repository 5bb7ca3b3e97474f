"""Holdfast: trading-strategy research that survives anything."""

__version__ = "0.1.0"
