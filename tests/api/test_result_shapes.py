"""Where links and reasons may stand in a job: every shape, read by the real client over a real socket."""

from __future__ import annotations

import json

import pytest

from airflow_provider_evolink.api.jobs.failures import job_error
from airflow_provider_evolink.api.redaction import Redactor

JOB = "task-unified-1790000000-demo0001"
HOST = "https://files.example.invalid"
A, B, C = f"{HOST}/a.mp4", f"{HOST}/b.mp4", f"{HOST}/c.mp4"
LONG = f"{A}?t=" + "A" * 9000
DATA = "data:video/mp4;base64,AAAAIGZ0eXA="
PROMPT = "A paper boat drifts down a rainy street at night"


@pytest.fixture
def read(answer_server, answer_client):
    def read_job(**fields):
        body = {"id": JOB, "status": "completed", "type": "video", "progress": 100, **fields}
        answer_server.answers = [(200, body)]
        return answer_client.get_job(JOB, redactor=Redactor.of({"prompt": PROMPT}))

    return read_job


SHAPES = {
    # as objects
    "objects with url": ({"results": [{"url": A}, {"url": B}]}, [A, B]),
    "objects with video_url": ({"results": [{"video_url": A}]}, [A]),
    "objects with link": ({"results": [{"link": A}]}, [A]),
    "objects with uri": ({"results": [{"uri": A}]}, [A]),
    "objects with download_url": ({"results": [{"download_url": A}]}, [A]),
    "objects in objects": ({"results": [{"video": {"url": A}}]}, [A]),
    "one object": ({"results": {"url": A}}, [A]),
    "an object of lists": ({"results": {"videos": [{"url": A}, {"url": B}]}}, [A, B]),
    "numbered": ({"results": {"0": {"url": A}, "1": {"url": B}}}, [A, B]),
    "an object with a list of links": ({"results": {"urls": [A, B]}}, [A, B]),
    "texts and objects": ({"results": [A, {"url": B}]}, [A, B]),
    "with a picture of it": ({"results": [{"url": A, "thumbnail_url": f"{HOST}/t.png"}]}, [A]),
    "lists in a list": ({"results": [[A], [B]]}, [A, B]),
    # as one text
    "one text": ({"results": A}, [A]),
    "one text with blanks": ({"results": f" {A}\n"}, [A]),
    "a text of lines": ({"results": f"{A}\n{B}"}, [A, B]),
    "a text with commas": ({"results": f"{A},{B}, {C}"}, [A, B, C]),
    "a comma inside a link": ({"results": f"{A}?sizes=1,2"}, [f"{A}?sizes=1,2"]),
    "a text of JSON": ({"results": json.dumps([A, B])}, [A, B]),
    "a text of JSON objects": ({"results": json.dumps([{"url": A}])}, [A]),
    "a list of one text of JSON": ({"results": [json.dumps([A])]}, [A]),
    # under other names
    "result_urls": ({"results": None, "result_urls": [A]}, [A]),
    "result_url": ({"result_url": A}, [A]),
    "output.video_url": ({"output": {"video_url": A}}, [A]),
    "output": ({"output": A}, [A]),
    "a list as output": ({"results": [], "output": [A, B]}, [A, B]),
    "output.results": ({"output": {"results": [{"url": A}]}}, [A]),
    "outputs": ({"outputs": [{"url": A}]}, [A]),
    "video_url": ({"video_url": A}, [A]),
    "url": ({"url": A}, [A]),
    "urls": ({"urls": [A, B]}, [A, B]),
    "videos": ({"videos": [{"url": A}]}, [A]),
    "task_result.videos": ({"task_result": {"videos": [{"id": "1", "url": A, "duration": "5"}]}}, [A]),
    "result.video.url": ({"result": {"video": {"url": A}}}, [A]),
    "data.video_url": ({"data": {"video_url": A}}, [A]),
    "content.video_url": ({"content": {"video_url": A}}, [A]),
    "media_urls": ({"media_urls": [A]}, [A]),
    "files": ({"files": [{"file_url": A}]}, [A]),
    "generations": ({"generations": [{"assets": {"video": A}}]}, [A]),
    # beside results
    "result_data alone": ({"results": [], "result_data": [{"url": A}]}, [A]),
    "the recorded pair": ({"results": [A], "result_data": [{"url": A}]}, [A]),
    "one more in result_data": ({"results": [A], "result_data": [{"url": A}, {"url": B}]}, [A, B]),
    "others in result_data": ({"results": [A], "result_data": [{"url": B}, {"url": C}]}, [A, B, C]),
    "signed again": ({"results": [f"{A}?s=1"], "result_data": [{"url": f"{A}?s=2"}]}, [f"{A}?s=1"]),
    "two that differ in the query": (
        {"results": [f"{A}?n=1", f"{A}?n=2"], "result_data": [{"url": f"{A}?n=2"}, {"url": f"{A}?n=1"}]},
        [f"{A}?n=1", f"{A}?n=2"],
    ),
    "one of two that differ in the query": (
        {"results": [f"{A}?n=1"], "result_data": [{"url": f"{A}?n=1"}, {"url": f"{A}?n=2"}]},
        [f"{A}?n=1", f"{A}?n=2"],
    ),
    "twice in result_data": ({"results": [A], "result_data": [{"url": B}, {"url": B}]}, [A, B]),
    "an object as result_data": ({"results": [A], "result_data": {"video_url": B}}, [A, B]),
    "a text of JSON as result_data": ({"results": [], "result_data": json.dumps([{"url": A}])}, [A]),
    "other names count only without results": ({"results": [A], "video_url": B, "output": [C]}, [A]),
    # one unusable link of several
    "one of 9,000 characters": ({"results": [A, LONG]}, [A]),
    "the first of 9,000 characters": ({"results": [LONG, B]}, [B]),
    "one of inline data": ({"results": [DATA, A]}, [A]),
    "one that is no link": ({"results": ["clip.mp4", A]}, [A]),
    "one of another scheme": ({"results": ["s3://bucket/a.mp4", A]}, [A]),
    "one of half a character": ({"results": [A + "\ud800", B]}, [B]),
    "an object with inline data": ({"results": [{"url": DATA}, {"url": A}]}, [A]),
    "unusable here, usable there": ({"results": [DATA], "result_data": [{"url": A}]}, [A]),
    "unusable, and another name": ({"results": [LONG], "video_url": A}, [A]),
    # nothing that is a result
    "what was sent": ({"input": {"image_urls": [A]}, "image_urls": [A], "video_urls": [A]}, []),
    "what was sent, nested": ({"output": {"input": {"video_url": A}, "reference_url": B}}, []),
    "a callback": ({"callback_url": A, "data": {"webhook_url": A}}, []),
    "pictures of it": ({"thumbnail_url": A, "output": {"cover_url": B, "poster": C}}, []),
    "texts": ({"output": "done", "result": "ok", "data": {"text": "see " + A}}, []),
    "a word": ({"results": "pending"}, []),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("status", ["completed", "SUCCEEDED"])
def test_links_are_taken_wherever_they_stand(read, name, status):
    fields, links = SHAPES[name]
    job = read(status=status, **fields)
    assert list(job.results) == links
    assert len(job.outputs) == len(links)
    assert {output["kind"] for output in job.outputs} <= {"video"}
    assert job.status.is_over is (bool(links) or status == "completed")
    assert job_error(job) is None if links else job.status != "completed" or job_error(job).permanent


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([A, LONG], "Result 2 of 2: a link of 9038 characters; at most 8192 are taken"),
        ([DATA, A], "Result 1 of 2: inline data of 34 characters, which is not fetched"),
        (["clip.mp4", A], "Result 1 of 2: not a link"),
    ],
)
def test_an_unusable_link_is_named_in_the_log_and_in_the_error_where_it_is_the_only_one(read, results, reason, caplog):
    job = read(results=results)
    assert reason in caplog.text
    assert len(job.unusable) == 1
    alone = read(results=[link for link in results if link != A])
    text = str(job_error(alone))
    assert "completed, but without usable results" in text
    assert reason.partition(": ")[2] in text
    assert "AAAA" not in text + caplog.text


@pytest.mark.parametrize(
    ("kind", "item", "expected"),
    [
        ("image", {"image_url": A}, "image"),
        ("video", {"image_url": A}, "image"),
        ("video", {"audio_url": A}, "audio"),
        ("video", {"url": A}, "video"),
        (None, {"video_url": A}, "video"),
        (None, {"url": A}, None),
    ],
)
def test_the_name_of_a_link_states_its_kind(read, kind, item, expected):
    assert read(type=kind, results=[item]).outputs[0]["kind"] == expected


def test_links_that_differ_in_the_query_alone_keep_their_own_kinds(read):
    clip, frame = f"{HOST}/file?id=1", f"{HOST}/file?id=2"
    data = [{"image_url": frame, "name": "last frame"}, {"video_url": clip, "name": "clip"}]
    job = read(results=[clip, frame], result_data=data)
    assert job.outputs == ({"kind": "video", "name": "clip"}, {"kind": "image", "name": "last frame"})


BOXES = [
    {"absolute": [0, 43, 832, 1248], "normalized": [0, 34, 650, 1000]},
    {"absolute": [0, 43, 832, 1248]},
    {"normalized": [0.5, 34.25, 650, 1000]},
    {"x": 0, "y": 1, "width": 30, "height": 40},
    [1, 2, 3, 4],
]


@pytest.mark.parametrize("box", BOXES, ids=str)
def test_a_layer_keeps_its_place(read, box):
    layers = [{"url": A, "z_index": 0}, {"url": B, "z_index": 1, "name": "sky", "bounding_box": box}]
    job = read(type="image", results=[A, B], result_data=layers)
    assert job.summary()["outputs"] == [
        {"kind": "image", "z_index": 0},
        {"kind": "image", "name": "sky", "z_index": 1, "bounding_box": box},
    ]


@pytest.mark.parametrize("box", [{"absolute": ["0"]}, {"absolute": [[1]]}, {"a": None}, {}, [], [True], 7, "box", None])
def test_what_is_no_place_is_dropped(read, box):
    assert "bounding_box" not in read(results=[A], result_data=[{"url": A, "bounding_box": box}]).outputs[0]


REASONS = {
    "error.message": {"error": {"code": "c", "message": "no faces please"}},
    "error as text": {"error": "no faces please"},
    "error as JSON": {"error": json.dumps({"code": "c", "message": "no faces please"})},
    "error in error": {"error": {"error": {"message": "no faces please"}}},
    "error.reason": {"error": {"code": "c", "reason": "no faces please"}},
    "error.detail": {"error": {"detail": "no faces please"}},
    "error.details": {"error": {"message": "", "details": [{"message": "no faces please"}]}},
    "errors in a list": {"error": [{"message": "no faces please"}]},
    "fail_reason": {"error": None, "fail_reason": "no faces please"},
    "failReason": {"failReason": "no faces please"},
    "failure_reason": {"failure_reason": "no faces please"},
    "failed_reason": {"failed_reason": "no faces please"},
    "reason": {"reason": "no faces please"},
    "message": {"message": "no faces please"},
    "msg": {"error": {}, "msg": "no faces please"},
    "error_message": {"error_message": "no faces please"},
    "errorMessage": {"errorMessage": "no faces please"},
    "error_msg": {"error": {"code": "c"}, "error_msg": "no faces please"},
    "task_status_msg": {"task_status_msg": "no faces please"},
    "detail": {"detail": "no faces please"},
    "data.fail_reason": {"data": {"fail_reason": "no faces please"}},
    "task_info.message": {"task_info": {"can_cancel": False, "message": "no faces please"}},
    "result.error": {"result": {"error": {"message": "no faces please"}}},
    "failure.reason": {"failure": {"reason": "no faces please"}},
    "output.message": {"output": {"code": "DataInspectionFailed", "message": "no faces please"}},
    "a word for success is no reason": {"message": "success", "fail_reason": "no faces please"},
}


@pytest.mark.parametrize("name", REASONS)
@pytest.mark.parametrize("status", ["failed", "cancelled", "REJECTED", "completed"])
def test_a_reason_is_shown_wherever_it_stands(read, name, status):
    error = job_error(read(status=status, **REASONS[name]), Redactor.of({"prompt": PROMPT}))
    assert "“no faces please”" in str(error)
    assert error.permanent


@pytest.mark.parametrize("name", REASONS)
@pytest.mark.parametrize("status", ["failed", "EXPIRED", "completed"])
def test_a_reason_quotes_neither_prompt_nor_link(read, name, status, caplog):
    text = json.dumps(REASONS[name]).replace("no faces please", f"no faces: {PROMPT} {A}?signature=topsecret")
    redactor = Redactor.of({"prompt": PROMPT})
    shown = str(job_error(read(status=status, **json.loads(text)), redactor)) + caplog.text
    assert "no faces: …" in shown
    assert PROMPT[:14] not in shown
    assert "topsecret" not in shown


@pytest.mark.parametrize("error", [{"code": "service_error"}, {"fail_code": "service_error"}, {"data": {"code": 500}}])
def test_only_the_code_in_error_can_lead_to_another_order(read, error):
    failure = job_error(read(status="failed", **error))
    assert (failure.repeatable, failure.code) == (False, None)


@pytest.mark.parametrize("name", ["message", "error as text", "data.fail_reason"])
def test_what_evolink_remarks_on_a_completed_job_is_logged(read, name, caplog):
    job = read(results=[A], **REASONS[name])
    assert job_error(job) is None
    assert "EvoLink remarks on it: “no faces please”" in caplog.text


@pytest.mark.parametrize(
    "fields", [{}, {"message": "success"}, {"message": "OK"}, {"error": None}, {"msg": "completed"}]
)
def test_an_ordinary_end_is_nothing_to_speak_of(read, fields, caplog):
    assert job_error(read(results=[A], **fields)) is None
    assert caplog.text == ""
