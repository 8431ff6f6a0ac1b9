"""The pages for those who run it for others: commands run or are marked, and tables are those of the code."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.exceptions import AirflowClusterPolicyViolation
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_evolink import __main__ as program
from airflow_provider_evolink import __version__
from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.get_provider_info import get_provider_info
from airflow_provider_evolink.ledger.record import VERSION, Record, State, read_record
from airflow_provider_evolink.operators import EvoLinkTextToVideoOperator
from airflow_provider_evolink.triggers.evolink import EvoLinkBatchTrigger, EvoLinkJobTrigger

ROOT = Path(__file__).parent.parent
NAMES = ("deploy", "operate", "many-teams", "egress", "upgrade")
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}
OPTIONS = get_provider_info()["config"]["evolink"]["options"]
NOT_RUN = re.compile(r" *<!-- not run: (needs|calls) [\w ]+ -->")


def commands(page: str) -> list[tuple[str, str]]:
    """Return each command of a page, with the line above its block."""
    lines, found, above = page.splitlines(), [], ""
    for number, line in enumerate(lines):
        if line.strip() == "```bash":
            above = lines[number - 1]
            block = "\n".join(lines[number + 1 :]).partition("```")[0].replace("\\\n", "")
            found += [(command.strip(), above) for command in block.splitlines() if command.strip()]
    return found


COMMANDS = [(name, *found) for name, page in PAGES.items() for found in commands(page)]
MARKED = [command for _, command, above in COMMANDS if NOT_RUN.fullmatch(above)]
RUN = [(name, command) for name, command, above in COMMANDS if not NOT_RUN.fullmatch(above)]
INSTALLED = ("uv pip install ", "evolink --version")  # by tests/package/test_wheel.py, in an environment of its own


def test_what_is_marked_as_not_run_cannot_be_run_here() -> None:
    assert [command.split()[0] for command in MARKED] == ["docker", "docker", "helm", "python", "airflow"]


@pytest.mark.parametrize(("page", "command"), RUN, ids=[f"{page}: {command[:40]}" for page, command in RUN])
def test_every_other_command_runs(
    page: str, command: str, airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As printed; only bucket and spool are folders of the test."""
    words = shlex.split(command.replace("s3://bucket/archive", archive_of_two(tmp_path)))
    if command.startswith(INSTALLED):
        assert page == "deploy"
    elif words[0] == "export":
        name, _, value = words[1].partition("=")
        for _, other in RUN:  # a connection needs its setting
            if other.startswith("export "):
                monkeypatch.setenv(*shlex.split(other)[1].replace("/var/spool", str(tmp_path)).split("=", 1))
        assert value
        assert read_by_the_code(name) == (tmp_path / "evolink" / "evolink-spool" if "SPOOL" in name else READ[name])
    elif words[0] == "airflow":
        from airflow.cli.cli_parser import get_parser

        options = get_parser().parse_args(words[1:])
        options.func(options)
        assert pool(words[3]) == (int(words[4]), "--include-deferred" in words)
    else:
        assert words[0] == "evolink"
        monkeypatch.setattr(sys, "argv", words)
        assert program.run() == 0


EMULATOR = "https://emulator.staging.internal:8765"
READ: dict[str, Any] = {
    "AIRFLOW__EVOLINK__LEDGER_PATH": "s3://aws_default@my-bucket/evolink-ledger",
    "AIRFLOW__EVOLINK__IDEMPOTENCY_NAMESPACE": "production",
    "AIRFLOW__EVOLINK__UI_ROOTS": [
        ("s3", "aws_default", "my-bucket/staging"),
        ("s3", "aws_default", "my-bucket/archive"),
    ],
    "AIRFLOW__TRIGGERER__CAPACITY": 1000,
    "AIRFLOW_CONN_EVOLINK_DEFAULT": (EMULATOR, EMULATOR, "team-film-0123456789"),
    "AIRFLOW__EVOLINK__ALLOWED_HOSTS": (EMULATOR, EMULATOR, "team-film-0123456789"),
    "AIRFLOW__EVOLINK__PRIVATE_MEDIA_HOSTS": {("emulator.staging.internal", 8765)},
    "AIRFLOW__EVOLINK__CA_BUNDLE": "/certs/emulator.pem",
    "AIRFLOW__METRICS__STATSD_ON": True,
    "AIRFLOW__METRICS__STATSD_HOST": "statsd.example.com",
    "AIRFLOW__METRICS__STATSD_PORT": 8125,
    "AIRFLOW__METRICS__STATSD_PREFIX": "airflow",
    "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": True,
}


def read_by_the_code(name: str) -> Any:
    """Return the value of a variable as the component takes it that reads it."""
    from airflow.configuration import conf

    from airflow_provider_evolink.hooks import EvoLinkHook
    from airflow_provider_evolink.hooks.evolink import network_policy
    from airflow_provider_evolink.ledger.ledger import ledger_root
    from airflow_provider_evolink.storage.input_roots import ui_roots
    from airflow_provider_evolink.storage.spool import spool_folder

    def settings() -> Any:
        return EvoLinkHook().settings

    of_evolink: dict[str, Callable[[], Any]] = {
        "LEDGER_PATH": ledger_root,
        "IDEMPOTENCY_NAMESPACE": lambda: conf.get("evolink", "idempotency_namespace"),
        "SPOOL_FOLDER": spool_folder,
        "UI_ROOTS": lambda: [(root.protocol, root.conn_id, root.path) for root in ui_roots()],
        "EVOLINK_DEFAULT": lambda: (settings().base_url, settings().files_url, settings().api_key),
        "ALLOWED_HOSTS": lambda: (settings().base_url, settings().files_url, settings().api_key),
        "PRIVATE_MEDIA_HOSTS": lambda: settings().private_media_hosts,
        "CA_BUNDLE": lambda: network_policy().ca_file or network_policy().ca_folder,
    }
    section, _, option = name.removeprefix("AIRFLOW_").removeprefix("_").removeprefix("CONN_").rpartition("__")
    if section in ("EVOLINK", ""):
        return of_evolink[option]()
    known = conf.configuration_description[section.lower()]["options"][option.lower()]
    read = {"integer": conf.getint, "boolean": conf.getboolean}.get(known["type"], conf.get)
    return read(section.lower(), option.lower())


def pool(name: str) -> tuple[int, bool]:
    """Return slots of a pool in Airflow's database, and whether it counts deferred tasks."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.query(Pool).filter(Pool.pool == name).one()
        return found.slots, found.include_deferred


def archive_of_two(folder: Path) -> str:
    """Return an archive with two jobs of two owners."""
    root = folder / "archive"
    rows = [("films_daily", "films", 2.5), ("ads_weekly", "ads", 4.0)]
    for number, (dag_id, owner, credits_) in enumerate(rows):
        path = root / "_evolink" / "rows" / "2026-11-03" / f"task-{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {"version": 1, "job_id": f"task-{number}", "day": "2026-11-03", "created": "2026-11-03T12:00:00+00:00"}
        row |= {"credits": credits_, "dag_id": dag_id, "owner": owner, "model": "m", "folder": "f", "manifest": "f/m"}
        path.write_text(json.dumps({**row, "files": [], "size": 1}))
    return root.as_uri()


def fenced(page: str, language: str) -> list[str]:
    """Return the blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("is_folded", [False, True])
def test_the_query_of_the_page_sums_by_owner_and_month(tmp_path: Path, is_folded: bool) -> None:
    (query,) = [text for text in fenced("many-teams", "python") if "duckdb" in text]
    archive = archive_of_two(tmp_path).removeprefix("file://")
    query = query.replace("s3://bucket/archive", archive)
    if is_folded:
        import duckdb

        days = Path(archive, "_evolink", "days")
        days.mkdir()
        duckdb.sql(f"COPY (FROM '{archive}/_evolink/rows/*/*.json') TO '{days}/2026-11-03.parquet' (FORMAT parquet)")
    else:
        query = query.replace("FROM '{index}/days/*.parquet' UNION ALL BY NAME ", "")  # as the page says
    names: dict[str, Any] = {}
    exec(query, names)
    assert names["spent"].fetchall() == [
        ("ads", "ads_weekly", "2026-11", 1, 4.0),
        ("films", "films_daily", "2026-11", 1, 2.5),
    ]


POLICY = {
    "films_daily": ("evolink_films", True),
    "films_mean": ("evolink_ads", False),
    "other": ("evolink_films", False),
    "ads_template": ("{{ var.value.conn }}", False),
}


@pytest.mark.parametrize("dag_id", POLICY)
def test_the_policy_of_the_page_refuses_connections_of_other_teams(dag_id: str) -> None:
    conn_id, is_allowed = POLICY[dag_id]
    names: dict[str, Any] = {}
    (policy,) = [text for text in fenced("many-teams", "python") if "task_policy" in text]
    exec(policy, names)
    with DAG(dag_id):
        task = EvoLinkTextToVideoOperator(task_id="task", prompt="a boat", evolink_conn_id=conn_id)
    if is_allowed:
        names["task_policy"](task)
    else:
        with pytest.raises(AirflowClusterPolicyViolation, match=f"{dag_id}.task may not use"):
            names["task_policy"](task)
    names["task_policy"](EmptyOperator(task_id="of_another_provider"))


def test_the_values_for_helm_name_settings_that_exist() -> None:
    (text,) = fenced("deploy", "yaml")
    values = yaml.safe_load(text)
    named = [entry["name"].removeprefix("AIRFLOW__EVOLINK__").lower() for entry in values["env"]]
    assert set(named) <= set(OPTIONS)
    assert values["workers"]["terminationGracePeriodSeconds"] > 30 + 600, "an order and its record"
    assert values["triggerer"]["replicas"] >= 2


def test_the_container_takes_the_second_step_of_the_install_as_it_stands() -> None:
    (text,) = fenced("deploy", "dockerfile")
    step = next(line for line in text.replace("\\\n", "").splitlines() if line.startswith("RUN "))
    version = re.search(r"^FROM apache/airflow:(\S+)$", text, re.MULTILINE)
    assert version
    second = next(command for _, command in RUN if command.startswith("uv pip install") and "constraint" not in command)
    plain = shlex.split(step.replace("${AIRFLOW_VERSION}", version[1]).replace(f"[s3,media]=={__version__}", ""))
    assert plain[plain.index("install") + 1 :] == ["--no-cache-dir", *shlex.split(second)[3:]]
    assert plain[:3] == ["RUN", "PIP_FIND_LINKS=/wheels", "pip"]


def test_the_settings_of_the_page_are_all_that_there_are() -> None:
    table = PAGES["deploy"].partition("| setting | read by |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == set(OPTIONS)


def test_the_supported_versions_are_those_of_the_matrix() -> None:
    from matrix import VERSIONS

    row = re.compile(r"^\| (\d+\.\d+\.\d+) \| (\d{4}-\d\d-\d\d) \| (3\.\d+)(?:, | to )(3\.\d+) \|$", re.MULTILINE)
    rows = row.findall(PAGES["upgrade"])
    assert [number for number, *_ in rows] == [version.number for version in VERSIONS.values() if not version.lowest]
    for number, day, oldest, newest in rows:
        version = VERSIONS[number]
        assert (version.pythons[0], version.pythons[-1]) == (oldest, newest)
        assert date.fromisoformat(day) <= date.fromisoformat(version.day), "its packages are not older than it is"


def test_a_scheduler_without_the_package_reads_the_dags(monkeypatch: pytest.MonkeyPatch) -> None:
    """It deserializes them, and imports nothing of ours."""
    import runpy

    from airflow.serialization.serialized_objects import DagSerialization

    dag = runpy.run_path(str(ROOT / "dags" / "evolink_daily_video.py"))["dag"]
    stored = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    for name in [name for name in sys.modules if name.split(".")[0] == "airflow_provider_evolink"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert set(DagSerialization.from_dict(stored).task_ids) == set(dag.task_ids)


def test_versions_of_the_package_can_be_mixed_while_it_is_upgraded() -> None:
    """A triggerer ignores arguments that it does not know."""
    job = {"evolink_conn_id": "evolink_default", "job_id": "task-1", "deadline": 2e9, "started": 1e9}
    batch = {"evolink_conn_id": "evolink_default", "jobs": [["task-1", 1e9, 2e9]]}
    for kind, given in ((EvoLinkJobTrigger, job), (EvoLinkBatchTrigger, batch)):
        _, kept = kind(**given, of_a_newer_version=1).serialize()
        assert "of_a_newer_version" not in kept


def test_an_older_version_refuses_newer_records_and_submits_nothing() -> None:
    record = Record(State.SUBMITTED, "key", 0, 0, "f" * 32, "m", 1e9, "task-1").to_json()
    assert read_record({**record, "of_an_older_version": 1}).job_id == "task-1"
    with pytest.raises(EvoLinkConfigError, match="nothing was submitted"):
        read_record({**record, "version": VERSION + 1})
