"""A thousand waiting jobs through rate limits and an outage: requests to the server, and what is lost."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import contestants
from contestants import WAIT
from supervisor import Triggerer
from waiting import Crowd, Server

SETTLE = 30.0
LIMITED, OUTAGE, AFTER = 60.0, 600.0, 150.0  # seconds of each phase


def measure(count: int, share: float, folder: Path) -> list[dict[str, Any]]:
    """
    Return a row for batch and one for single reads; both go through it at the same time, in processes of their own.

    :param count: How many jobs wait.
    :param share: Of the phases' lengths, to see whether it runs.
    :param folder: With the certificate; for files in between.
    """
    with ThreadPoolExecutor(2) as both:
        return list(both.map(lambda key: _weather(key, count, share, folder), ("ours", "ours_single")))


def _weather(key: str, count: int, share: float, folder: Path) -> dict[str, Any]:
    contestant = contestants.CONTESTANTS[key]
    epoch = time.time() - 4000.0
    server = Server(folder / "server.pem", epoch, batch=contestant.batch)
    environment = {**os.environ, **contestants.connections(server.port), "SSL_CERT_FILE": str(folder / "bundle.pem")}
    crowd = Crowd(contestant, count, server.port, epoch)
    triggerer = Triggerer(folder, environment, crowd.replaced, at_once=250)
    try:
        row, outage = _phases(triggerer, server, crowd, share)
    finally:
        seen = triggerer.end()
        server.end()
    reported = {int(number): at for number, at in seen["events"].items()}
    begun, over, end = outage
    in_it = [number for number, job in crowd.jobs.items() if begun <= job.ends < over]
    row |= {
        "key": key,
        "count": count,
        "outage_seconds": over - begun,
        "over_in_outage": len(in_it),
        "reported_of_them": sum(number in reported for number in in_it),
        "recovery": max((reported.get(number, end + WAIT) - over for number in in_it), default=0.0),
        "failures": len(triggerer.failures),
        "statuses": seen["statuses"],
        "lag_max": max((1000 * lag for at, lag in seen["lags"] if at >= row["calm_from"]), default=None),
    }
    return row


def _phases(
    triggerer: Triggerer, server: Server, crowd: Crowd, share: float
) -> tuple[dict[str, Any], tuple[float, float, float]]:
    triggerer.wait_for_syncs(2, 120)
    triggerer.hand_over([crowd.first()])
    triggerer.wait_for_syncs(4, 60)
    triggerer.hand_over(crowd.start())
    triggerer.wait_until_made(300)
    time.sleep(SETTLE)
    row: dict[str, Any] = {"calm_from": time.time(), "calm": _rate(server, "calm", share * LIMITED)}
    row["limited"] = _rate(server, "limited", share * LIMITED)
    counts = server.counts("outage")
    row |= {"refused": counts.get("refused", 0), "early_each": counts["early_each"]}
    begun = time.time()
    _rate(server, "outage", share * OUTAGE / 2)
    row["outage"] = _rate(server, "outage", share * OUTAGE / 2)
    over = time.time()
    row["after"] = _rate(server, "calm", share * AFTER)
    return row, (begun, over, time.time())


def _rate(server: Server, weather: str, seconds: float) -> float:
    """Return requests a second in some weather."""
    before = server.counts(weather)["requests"]
    time.sleep(seconds)
    return (server.counts(weather)["requests"] - before) / seconds
