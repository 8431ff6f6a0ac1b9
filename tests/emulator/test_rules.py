"""Every documented rule of the four Wan 2.7 models; the error names the field."""

from __future__ import annotations

import pytest

IMG, VID, SND = "https://example.com/a.png", "https://example.com/a.mp4", "https://example.com/a.mp3"
BODIES = {
    "text": {"model": "wan2.7-text-to-video", "prompt": "x"},
    "image": {"model": "wan2.7-image-to-video", "image_start": IMG},
    "reference": {"model": "wan2.7-reference-video", "prompt": "x", "image_urls": [IMG]},
    "edit": {"model": "wan2.7-video-edit", "video_urls": [VID]},
}
DROP = object()


def send(client, name, changes):
    body = {key: value for key, value in (BODIES[name] | changes).items() if value is not DROP}
    return client.post("/v1/videos/generations", json=body)


COMMON = [
    ({"surprise": 1}, "surprise"),
    ({"negative_prompt": 1}, "negative_prompt"),
    ({"prompt": ["x"]}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"quality": "480p"}, "quality"),
    ({"quality": 720}, "quality"),
    ({"seed": 0}, "seed"),
    ({"seed": 2147483648}, "seed"),
    ({"seed": "7"}, "seed"),
    ({"seed": True}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"prompt_extend": "true"}, "prompt_extend"),
    ({"prompt_extend": 1}, "prompt_extend"),
    ({"duration": 16}, "duration"),
    ({"duration": 1}, "duration"),
    ({"duration": 5.5}, "duration"),
    ({"duration": "5"}, "duration"),
    ({"callback_url": "http://example.com/hook"}, "callback_url"),
    ({"callback_url": "https://127.0.0.1/hook"}, "callback_url"),
    ({"callback_url": "https://10.1.2.3/hook"}, "callback_url"),
    ({"callback_url": "https://172.20.0.1/hook"}, "callback_url"),
    ({"callback_url": "https://192.168.0.1/hook"}, "callback_url"),
    ({"callback_url": "https://[::1]/hook"}, "callback_url"),
    ({"callback_url": "https://localhost/hook"}, "callback_url"),
    ({"callback_url": "https://example.com/" + "x" * 2048}, "callback_url"),
    ({"callback_url": "example.com"}, "callback_url"),
]


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(("changes", "param"), COMMON)
def test_common_rules(client, emulator, name, changes, param):
    response = send(client, name, changes)

    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("invalid_request", "invalid_request_error", param)
    assert error["message"]
    assert emulator.books()["orders"] == 0


OWN = [
    ("text", {"prompt": DROP}, "prompt"),
    ("text", {"prompt": " "}, "prompt"),
    ("text", {"aspect_ratio": "2:1"}, "aspect_ratio"),
    ("text", {"audio_urls": [SND, SND]}, "audio_urls"),
    ("text", {"audio_urls": SND}, "audio_urls"),
    ("text", {"audio_urls": ["data:audio/mp3;base64,AAAA"]}, "audio_urls"),
    ("text", {"image_start": IMG}, "image_start"),
    ("text", {"model_params": {"shot_type": "multi"}}, "model_params"),
    ("image", {"aspect_ratio": "16:9"}, "aspect_ratio"),
    ("image", {"image_urls": [IMG]}, "image_urls"),
    ("image", {"image_start": DROP}, "image_start"),
    ("image", {"image_start": "file:///etc/passwd"}, "image_start"),
    ("image", {"image_start": "https://exa mple.com/a.png"}, "image_start"),
    ("image", {"generation_mode": "magic"}, "generation_mode"),
    ("image", {"generation_mode": "first_frame", "image_start": DROP}, "image_start"),
    ("image", {"generation_mode": "first_frame", "image_end": IMG}, "image_end"),
    ("image", {"generation_mode": "first_frame", "video_urls": [VID]}, "video_urls"),
    ("image", {"generation_mode": "first_last_frame"}, "image_end"),
    ("image", {"generation_mode": "first_last_frame", "image_end": IMG, "video_urls": [VID]}, "video_urls"),
    ("image", {"generation_mode": "video_continuation"}, "image_start"),
    ("image", {"generation_mode": "video_continuation", "image_start": DROP}, "video_urls"),
    ("image", {"image_start": DROP, "video_urls": [VID], "audio_urls": [SND]}, "audio_urls"),
    ("image", {"video_urls": [VID]}, "image_start"),
    ("image", {"image_start": DROP, "image_end": IMG}, "image_start"),
    ("image", {"image_start": DROP, "video_urls": [VID, VID]}, "video_urls"),
    ("reference", {"prompt": DROP}, "prompt"),
    ("reference", {"image_urls": DROP}, "image_urls"),
    ("reference", {"image_urls": DROP, "image_start": IMG}, "image_urls"),
    ("reference", {"image_urls": [IMG] * 6}, "image_urls"),
    ("reference", {"image_urls": [IMG] * 3, "video_urls": [VID] * 3}, "image_urls"),
    ("reference", {"audio_urls": [SND] * 6}, "audio_urls"),
    ("reference", {"video_urls": [VID], "duration": 11}, "duration"),
    ("reference", {"generation_mode": "first_frame"}, "generation_mode"),
    ("reference", {"model_params": []}, "model_params"),
    ("reference", {"model_params": {"other": 1}}, "model_params.other"),
    ("reference", {"model_params": {"voice_bindings": [SND]}}, "model_params.voice_bindings"),
    *(
        ("reference", {"model_params": {"voice_bindings": {key: SND}}}, f"model_params.voice_bindings.{key}")
        for key in ("image0", "image01", "Image1", "audio1", "image", "image2", "video1", "image1 ")
    ),
    ("reference", {"model_params": {"voice_bindings": {"image1": ""}}}, "model_params.voice_bindings.image1"),
    (
        "reference",
        {"model_params": {"voice_bindings": {f"image{n}": SND for n in range(1, 7)}}},
        "model_params.voice_bindings",
    ),
    ("edit", {"video_urls": DROP}, "video_urls"),
    ("edit", {"video_urls": []}, "video_urls"),
    ("edit", {"video_urls": [VID, VID]}, "video_urls"),
    ("edit", {"image_urls": [IMG] * 5}, "image_urls"),
    ("edit", {"keep_original_sound": "yes"}, "keep_original_sound"),
    ("edit", {"duration": 11}, "duration"),
    ("edit", {"aspect_ratio": "auto"}, "aspect_ratio"),
    ("edit", {"audio_urls": [SND]}, "audio_urls"),
    ("text", {"model": DROP}, "model"),
    ("text", {"model": ""}, "model"),
    ("text", {"model": 7}, "model"),
]


@pytest.mark.parametrize(("name", "changes", "param"), OWN)
def test_rules_of_one_model(client, name, changes, param):
    response = send(client, name, changes)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


GOOD = [
    ("text", {"duration": 2, "seed": 1, "quality": "1080p", "aspect_ratio": "3:4", "prompt_extend": True}),
    ("text", {"duration": 15, "seed": 2147483647, "audio_urls": [SND], "negative_prompt": "blur"}),
    ("text", {"audio_urls": [], "callback_url": "https://example.com/hook", "prompt": "一只猫"}),
    ("image", {"audio_urls": [SND]}),
    ("image", {"image_end": IMG}),
    ("image", {"image_end": IMG, "audio_urls": [SND], "generation_mode": "first_last_frame"}),
    ("image", {"image_start": DROP, "video_urls": [VID]}),
    ("image", {"image_start": DROP, "video_urls": [VID], "image_end": IMG, "generation_mode": "video_continuation"}),
    ("reference", {"duration": 15, "image_start": IMG}),
    ("reference", {"image_urls": [IMG] * 3, "video_urls": [VID] * 2, "duration": 10, "audio_urls": [SND] * 5}),
    ("reference", {"video_urls": [VID], "model_params": {"voice_bindings": {"image1": SND, "video1": SND}}}),
    ("reference", {"model_params": {}}),
    ("edit", {"duration": 0}),
    ("edit", {"duration": 10, "image_urls": [IMG] * 4, "keep_original_sound": True, "prompt": ""}),
]


@pytest.mark.parametrize(("name", "changes"), GOOD)
def test_valid_requests_are_accepted(client, name, changes):
    response = send(client, name, changes)

    assert response.status_code == 200, response.text


def test_a_wan_video_model_is_not_an_image_model(client):
    response = client.post("/v1/images/generations", json=BODIES["text"])

    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")


def test_long_texts_are_silently_cut(client, emulator):
    response = send(client, "text", {"prompt": "p" * 5001, "negative_prompt": "n" * 501})

    assert response.status_code == 200
    job = emulator.books()["jobs"][0]
    assert sorted(job["truncated"]) == ["negative_prompt", "prompt"]
    assert len(job["body"]["prompt"]) == 5001
