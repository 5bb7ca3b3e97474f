"""Exactness: runs interrupted and resumed, their results compared byte for byte with uninterrupted ones."""
