"""
Runs downloads in processes of their own that can be killed. Everything is imported once, before any thread is started.

Reads a line of JSON for each process, prints its id, and then how it ended.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    import s3fs  # noqa: F401
    from airflow.providers.amazon.aws.fs import s3 as _

    from airflow_provider_evolink.hooks import evolink  # noqa: F401
    from airflow_provider_evolink.operators import EvoLinkDownloadOperator
    from airflow_provider_evolink.storage import results  # noqa: F401

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
            try:
                EvoLinkDownloadOperator(task_id="download", **given).execute({})
                code = 0
            finally:
                os._exit(code)


if __name__ == "__main__":
    main()
