"""Copies that the store makes itself: no byte of the media passes through this machine."""
