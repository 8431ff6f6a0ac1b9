"""
How long the catalog takes: to load, to build every model's checks, one model cold, and a cached validation.

    python benchmarks/catalog.py

Each figure is the median of fresh processes, or of many calls in one: of seconds by the clock, and of seconds of the
processor, which other work on the machine does not lengthen. The target is for the clock.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

PROCESSES, CALLS = 9, 2000
Clocks = tuple[float, float]
MODELS = ("wan2.7-reference-video", "kling-o3-image-to-video", "qwen-audio-3.1-tts-flash", "mj-v7-edit")
WHOLE = """
import time
from airflow_provider_evolink.api import catalog
start, used = time.perf_counter(), time.process_time()
for model in catalog.known_models():
    catalog.build_request(model, {}, validation="warn")
print(time.perf_counter() - start, time.process_time() - used)
"""
COLD = """
import sys, time
from airflow_provider_evolink.api import catalog
start, used = time.perf_counter(), time.process_time()
catalog.build_request(sys.argv[1], {}, validation="warn")
print(time.perf_counter() - start, time.process_time() - used)
"""
REQUEST = {
    "prompt": "Image 1 interviews Video 1 in a quiet library",
    "image_urls": ["https://example.com/host.png"],
    "video_urls": ["https://example.com/guest.mp4"],
    "model_params": {"voice_bindings": {"image1": "https://example.com/host.mp3"}},
    "duration": "8",
    "aspect_ratio": "16:9",
}


def fresh(program: str, *arguments: str) -> Clocks:
    """Run a program in new processes and return the medians of the seconds it prints."""
    command = [sys.executable, "-c", program, *arguments]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(PROCESSES)]
    return medians([(float(run.stdout.split()[0]), float(run.stdout.split()[1])) for run in runs])


def medians(pairs: list[Clocks]) -> Clocks:
    """Return the median of the clock and that of the processor."""
    return statistics.median(clock for clock, _ in pairs), statistics.median(processor for _, processor in pairs)


def cached() -> Clocks:
    """Return the median seconds of a validation whose model has been used before."""
    from airflow_provider_evolink.api.catalog.catalog import build_request

    build_request(MODELS[0], REQUEST)
    pairs = []
    for _ in range(CALLS):
        start, used = time.perf_counter(), time.process_time()
        build_request(MODELS[0], REQUEST)
        pairs.append((time.perf_counter() - start, time.process_time() - used))
    return medians(pairs)


def main() -> None:
    """Print the figures, and once more as JSON for programs."""
    figures = {"load and build all models": (fresh(WHOLE), 1.5)}
    figures |= {f"one model cold: {model}": (fresh(COLD, model), 0.03) for model in MODELS}
    figures["a cached validation"] = (cached(), 0.001)
    for name, ((clock, processor), target) in figures.items():
        print(
            f"{name:45} {clock * 1000:9.3f} ms clock {processor * 1000:9.3f} ms processor"
            f"  (target under {target * 1000:g} ms)"
        )
    print(json.dumps({name: clocks for name, (clocks, _) in figures.items()}))


if __name__ == "__main__":
    main()
