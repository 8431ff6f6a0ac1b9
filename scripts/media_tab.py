"""What is seen of the plugin's pages in Airflow's own tabs, in a real browser; for the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from chromium import Page

TAB = "document.querySelector('iframe')?.contentDocument"
VIDEO = f"{TAB}?.querySelector('video')"
BUTTON = f"{TAB}?.querySelector('button.play')"
TILES = f"{TAB}?.querySelectorAll('.grid li')"
_HOSTS = f"[...{TAB}.defaultView.performance.getEntriesByType('resource')].map(one => new URL(one.name).origin)"


def text(page: Page) -> str:
    """
    Return the text of the tab.

    :param page: A page of the browser.
    """
    return str(page.run(f"{TAB}.body.innerText"))


def hosts(page: Page) -> AbstractSet[str]:
    """
    Return from where the tab has loaded something, once it is complete.

    :param page: A page of the browser.
    """
    page.wait_for(f"{TAB}?.readyState === 'complete'")
    return set(page.run(_HOSTS))


def open_tab(page: Page, address: str, wanted: str) -> None:
    """
    Open a tab, and wait until something is there.

    :param page: A page of the browser.
    :param address: Of the tab.
    :param wanted: The thing, as an expression.
    """
    page.errors.clear()
    page.open(address)
    page.wait_for(f"!!{wanted}")


def play(page: Page) -> None:
    """
    Play the clip of the tab.

    :param page: A page of the browser.
    :raises SystemExit: it does not play, or its page has errors.
    """
    page.wait_for(f"!!{VIDEO}")
    page.run(f"(video => {{ video.muted = true; video.play(); }})({VIDEO})")
    page.wait_for(f"{VIDEO}.currentTime > 0.1")
    if page.errors:
        raise SystemExit(f"the page has errors: {page.errors}")
