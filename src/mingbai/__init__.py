"""Mingbai (明白): an open customer-protection platform for telecom operators."""

__version__ = "0.2.0"
