"""What measuring costs beside the model: time around a model of 50 ms a sample, memory by number of samples, scoring.

The application `eval` runs in processes of its own, on a made-up probe: questions of four tasks about JPEG pictures.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bench.peak import peak_mb
from bench.row import Row

ROOT = Path(__file__).resolve().parents[1]
MODEL_S = 0.05
ASKED = 400
FEW, MANY = 1_000, 10_000
SCORED = 50_000
PICTURES = 100
SIDE_PX = 512
OVERHEAD = 0.05
GROWTH = 1.5
SCORING_S = 60.0

# Written as a program, so that nothing that this process has loaded counts.
PROGRAM = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import numpy as np
import PIL.Image
from eval import records, runner, runs
from lhrs_chat.models.backends import Done

job, folder, count, pictures, side, pause = sys.argv[1], Path(sys.argv[3]), *map(float, sys.argv[4:])
count, pictures, side = int(count), int(pictures), int(side)
rng = np.random.default_rng(0)
(folder / "images").mkdir(parents=True)
for number in range(pictures):
    small = PIL.Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    small.resize((side, side), PIL.Image.Resampling.BICUBIC).save(folder / "images" / f"{number}.jpg", quality=90)
tasks = {
    "presence": ("Is there water?", {"answer": "yes"}),
    "count": ("How many ships are there?", {"answer": "3", "number": 3}),
    "where_is": ("Where is the tank?", {"answer": "[10, 10, 40, 40]", "box": [10, 10, 40, 40]}),
    "scene_class": ("What kind of scene is this?", {"answer": "park", "options": ["park", "pond", "port"]}),
}
said = {text: row["answer"] for text, row in tasks.values()}
with (folder / "probe.jsonl").open("w") as file:
    for number in range(count):
        task = list(tasks)[number % len(tasks)]
        row = {"id": f"{number}", "image": f"images/{number * pictures // count}.jpg", "task": task}
        row |= {"question": tasks[task][0], "options": None, "box": None, "number": None, "unit": "", "set": "made"}
        row |= {"scene_id": f"{number % pictures}", "licence": "none", "captions": [], **tasks[task][1]}
        file.write(json.dumps(row) + "\\n")


class Model:
    name, weights_sha256, dialect = "made", "0" * 64, "brackets100"

    seconds = 0.0

    def generate(self, requests, stop=None):
        for place, request in enumerate(requests):
            before = time.perf_counter()
            time.sleep(pause)
            self.seconds += time.perf_counter() - before
            yield Done(place, said[request.messages[0].text], confidence=0.9, tokens=1, prompt="")


data = runs.open_data("nano_probe", folder)
before = time.perf_counter()
model = Model()
runner.run(data.benchmark, data.questions, model, folder / "run", ["real"])
asked_s = time.perf_counter() - before
before = time.perf_counter()
if job == "score":
    runs.score(runs.open_data("nano_probe", folder), folder / "run").summary()
scored_s = time.perf_counter() - before
print(json.dumps({"asked_s": asked_s, "model_s": model.seconds, "scored_s": scored_s}))
"""


def measure() -> list[Row]:
    """Three lines: overhead, memory, scoring.

    Raises:
        LhrsError: the measured program failed.
    """
    _, asked = _run("ask", ASKED, MODEL_S)
    ratio = asked["asked_s"] / asked["model_s"]
    few, many = (_run("ask", count, 0.0)[0] for count in (FEW, MANY))
    scored_s = _run("score", SCORED, 0.0)[1]["scored_s"]
    return [
        Row(
            what=f"asking {ASKED} questions, {MODEL_S * 1000:.0f} ms each in the model",
            ours=f"{asked['asked_s']:.2f} s",
            against=f"{asked['model_s']:.2f} s (the model alone)",
            ratio=ratio,
            target=f"under {1 + OVERHEAD:.2f}",
            passed=ratio < 1 + OVERHEAD,
            remark=f"reading {PICTURES} JPEG pictures of {SIDE_PX} px, hashing, parsing, scoring and writing included",
        ),
        Row(
            what=f"peak memory of a run, {MANY:,} questions",
            ours=f"{many:.0f} MB",
            against=f"{few:.0f} MB ({FEW:,} questions)",
            ratio=many / few,
            target=f"under {GROWTH}",
            passed=many / few < GROWTH,
            remark="pictures are kept up to a fixed size; what grows is the questions themselves",
        ),
        Row(
            what=f"scoring {SCORED:,} stored answers",
            ours=f"{scored_s:.1f} s",
            against="-",
            ratio=None,
            target=f"under {SCORING_S:.0f} s",
            passed=scored_s < SCORING_S,
            remark="reading questions and answers, parsing, metrics, clustered errors",
        ),
    ]


def _run(job: str, count: int, pause_s: float) -> tuple[float, dict[str, float]]:
    """Peak memory in MB, and the seconds that the program counted."""
    with tempfile.TemporaryDirectory(prefix="lhrs-bench-") as folder:
        words = [job, str(ROOT), f"{folder}/probe", *map(str, (count, PICTURES, SIDE_PX, pause_s))]
        peak, said = peak_mb(PROGRAM, words)
    found: dict[str, float] = json.loads(said)
    return peak, found
