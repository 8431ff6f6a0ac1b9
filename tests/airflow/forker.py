"""
Runs downloads and archives in processes of their own that can be killed. Everything is imported once, before any
thread is started.

Reads a line of JSON for each process, prints its id, and then how it ended.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace


def main() -> None:
    import s3fs  # noqa: F401
    from airflow.providers.amazon.aws.fs import s3 as _

    from airflow_provider_evolink.hooks import evolink  # noqa: F401
    from airflow_provider_evolink.operators import EvoLinkArchiveOperator, EvoLinkDownloadOperator
    from airflow_provider_evolink.storage import archive, results  # noqa: F401

    run = {"ti": SimpleNamespace(dag_id="dag", run_id="run", task_id="task", map_index=-1)}

    print("ready", flush=True)
    for line in sys.stdin:
        given = json.loads(line)
        if pid := os.fork():
            print(pid, flush=True)
            _, status = os.waitpid(pid, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        else:
            code = 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.environ.update(given.pop("environment"))
            report = Path(given.pop("report"))
            kind = EvoLinkArchiveOperator if "files" in given else EvoLinkDownloadOperator
            try:
                report.write_text(json.dumps(kind(task_id="task", **given).execute(run)))  # type: ignore[arg-type]
                code = 0
            finally:
                os._exit(code)


if __name__ == "__main__":
    main()
