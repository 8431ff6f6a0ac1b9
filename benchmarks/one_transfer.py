"""
One transfer by this package, in a process of its own: imports first, then what is measured.

    python benchmarks/one_transfer.py BASE WHERE ARCHIVE JOB...
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from pathlib import Path


def kb(name: str) -> int:
    """Return a figure of this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def cpu() -> float:
    """Return the processor time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Transfer, and print how long that took."""
    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.api.settings import ClientSettings
    from airflow_provider_evolink.storage.archive.archiving import Archiving, archive_files
    from airflow_provider_evolink.storage.object_store import open_folder, publish_json
    from airflow_provider_evolink.storage.results import fetch_media

    base, where, archive, *jobs = sys.argv[1:]
    folder = open_folder(where)
    publish_json({}, folder / "first.json")  # what the first call of a process pays
    with EvoLinkClient(ClientSettings(api_key="k" * 20, base_url=base)) as client:
        client.get_job(jobs[0])
        Path("/proc/self/clear_refs").write_text("5")
        start, used, begun = kb("VmRSS"), cpu(), time.perf_counter()
        for job in jobs:
            files = fetch_media(client, job, folder)
        if archive:
            used, begun = cpu(), time.perf_counter()
            archive_files(files, open_folder(archive), {}, Archiving(posters=False))  # a poster reads the file
        seconds, spent = time.perf_counter() - begun, cpu() - used
    print(json.dumps({"seconds": seconds, "cpu": spent, "mb": (kb("VmHWM") - start) / 1024}))
    if where.startswith("/"):
        shutil.rmtree(where)


if __name__ == "__main__":
    main()
