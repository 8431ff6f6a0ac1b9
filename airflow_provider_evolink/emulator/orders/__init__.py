"""Requests for media: what models accept, what a request costs, what comes of it, and how its job proceeds."""
