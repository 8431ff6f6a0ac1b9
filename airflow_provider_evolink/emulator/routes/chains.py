"""Orders that go on from an earlier job: which one, and whether it may be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.models import find
from airflow_provider_evolink.emulator.routes.bodies import DRAFT_SECONDS, api_error

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.jobs import Job
    from airflow_provider_evolink.emulator.orders.model_file import FieldSchema
    from airflow_provider_evolink.emulator.state.world import World

_NAMES = ("source_task_id", "base_video_task_id", "model_params.source_task_id", "model_params.task_id")


def source_of(world: World, account: str, body: dict[str, Any]) -> Job | None:
    """
    Return the earlier job an order names, or None if its model takes none.

    :param world: The state.
    :param account: Who orders: the job must be theirs.
    :param body: The checked order.
    :raises ApiError: There is no such job, or it cannot be used.
    """
    model = find(body["model"])
    name = next((name for name in _NAMES if model and _has_field(model.fields, name)), None)
    if model is None or name is None:
        return None
    job_id = _value(body, name)
    if job_id is None:
        return None
    job = world.jobs.get(job_id) if isinstance(job_id, str) else None
    if job is None or job.vanished or job.account != account:
        raise api_error(404, message=f"{name}: the task does not exist", param=name)
    if job.status != "completed":
        raise api_error(409, code="task_not_ready", message=f"{name}: the task is not completed", param=name)
    _check_fit(world, model.task, model.family, job, name)
    return job


def _check_fit(world: World, task: str, family: str, job: Job, name: str) -> None:
    earlier = find(job.model)
    if task == "draft-to-video":
        if not job.body.get("draft"):
            raise api_error(400, message=f"{name}: the task is not a draft", param=name)
        if world.now() > job.created + DRAFT_SECONDS:
            raise api_error(410, code="draft_expired", message=f"{name}: the draft has expired", param=name)
    elif earlier is None or earlier.family != family:
        raise api_error(400, message=f"{name}: the task was made by another family of models", param=name)
    elif task == earlier.task == "image-upscale":
        raise api_error(403, message=f"{name}: an upscaled image cannot be upscaled again", param=name)


def _has_field(fields: dict[str, FieldSchema], path: str) -> bool:
    outer, _, inner = path.partition(".")
    return outer in fields and (not inner or inner in fields[outer].fields)


def _value(body: dict[str, Any], path: str) -> Any:
    outer, _, inner = path.partition(".")
    value = body.get(outer)
    if not inner:
        return value
    return value.get(inner) if isinstance(value, dict) else None
