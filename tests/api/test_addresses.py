"""What a link and a host are; which addresses EvoLink fetches is in ``test_catalog_addresses.py``."""

from __future__ import annotations

import pytest

from airflow_provider_evolink.api.addresses import link_identity


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("https://a.b/c.png?sig=1", "https://a.b/c.png"),
        ("HTTP://a.b/c.png#t=1", "HTTP://a.b/c.png"),
        ("https://u@a.b/c?x=1#f", "https://u@a.b/c"),
        ("https://a.b/c.png", "https://a.b/c.png"),
        ("s3://bucket/c.png#sha256=0f3c", "s3://bucket/c.png#sha256=0f3c"),
        ("Who? A boat.", "Who? A boat."),
        ("https://a.b/shop?id=1 is the shop: film a boat", "https://a.b/shop?id=1 is the shop: film a boat"),
        ("https://a.b/shop?id=1\nFilm a boat", "https://a.b/shop?id=1\nFilm a boat"),
    ],
)
def test_a_link_is_the_same_one_after_it_was_signed_again(text, identity):
    assert link_identity(text) == identity
