"""Rendering of the files that completed jobs return."""
