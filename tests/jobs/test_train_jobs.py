"""Short runs of the training jobs, as a user starts them: the loss falls, and bad input is one line."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qrefine.models import mapper_net, restorer_net
from qrefine.models.mapper import EmbeddedMapper
from qrefine.models.restorer import EmbeddedRestorer
from qrefine.models.weights import load_weights, sha256
from qrefine.training.card import stated_digest
from qrefine.training.degradations import degrade
from qrefine.training.scenes import dead_leaves

ROOT = Path(__file__).parents[2]
JOBS = {
    "train_mapper": (mapper_net.ARCHITECTURE, mapper_net.MapperNet, EmbeddedMapper),
    "train_restorer": (restorer_net.ARCHITECTURE, restorer_net.RestorerNet, EmbeddedRestorer),
}


def run(job, *arguments):
    command = [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240, check=False)


def losses(text):
    return [float(value) for value in re.search(r"loss (\S+) -> (\S+)", text).groups()]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        image = dead_leaves(240, np.random.default_rng(seed)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{seed}.png")
    return folder


def test_a_short_run_of_the_mapper_learns_and_resumes(tmp_path, photos):
    short(tmp_path, photos, "train_mapper", 40)


def test_a_short_run_of_the_restorer_learns_and_resumes(tmp_path, photos):
    short(tmp_path, photos, "train_restorer", 40)


def short(tmp_path, photos, job, steps):
    architecture, network, backend = JOBS[job]
    out = tmp_path / "net.safetensors"
    first = run(job, "--photos", photos, "--steps", steps, "--batch", 3, "--out", out)
    assert first.returncode == 0, first.stderr
    assert f"{steps} steps" in first.stdout
    notes = load_weights(network(), out, architecture)
    assert notes["steps"] == str(steps)
    assert stated_digest(out.with_suffix(".md")) == sha256(out)
    card = out.with_suffix(".md").read_text()
    for title in ("Data", "Recipe", "Figures", "Limits"):
        assert f"## {title}" in card
    assert "3 clean photographs" in card
    backend(weights=str(out))
    began, ended = early_and_late(out)
    assert ended < began
    resumed = run(job, "--photos", photos, "--steps", steps + 2, "--batch", 3, "--out", out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"{steps + 2} steps" in resumed.stdout
    assert f"resumed at step {steps};" in out.with_suffix(".md").read_text()


def early_and_late(out):
    import torch

    values = torch.load(out.with_suffix(".checkpoint"), weights_only=True)["state"]["losses"]
    return np.mean(values[:10]), np.mean(values[-10:])


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", "2", "--photos", "nowhere/*.tar"), "no file matches --photos 'nowhere/*.tar'"),
        ((), "--steps or --minutes"),
        (("--steps", "2", "--batch", "0"), "--batch is at least 1"),
        (("--steps", "2", "--resume"), "no checkpoint to resume from"),
    ],
)
def test_bad_input_is_one_line(tmp_path, job, arguments, message):
    refused(run(job, *arguments, "--out", tmp_path / "net.safetensors"), message)


def refused(done, message):
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize("job", JOBS)
def test_photos_below_the_crop_are_counted(tmp_path, job):
    Image.new("RGB", (100, 300)).save(tmp_path / "a.png")
    done = run(job, "--steps", 2, "--photos", tmp_path, "--out", tmp_path / "net.safetensors")
    refused(done, "no photo is left")
    assert "1 smaller than" in done.stderr


@pytest.fixture
def scores(tmp_path):
    """Images that get worse, with scores that say so, on a scale of 1 to 5."""
    rng = np.random.default_rng(0)
    lines = ["file,score"]
    for number, severity in enumerate(np.linspace(0, 1, 20)):
        image = dead_leaves(128, rng).clip(0, 255).astype(np.uint8)
        Image.fromarray(degrade(image, "gaussian_noise", float(severity), rng)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{5 - 4 * severity:.2f}")
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_human_scores_bend_the_head(tmp_path, scores):
    out = tmp_path / "mine.safetensors"
    done = run("train_mapper", "--scores", scores, "--steps", 60, "--out", out)
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"(\S+) after", done.stdout).group(1)) > 0.8
    assert stated_digest(out.with_suffix(".md")) == sha256(out)
    noisy = np.asarray(Image.open(tmp_path / "19.png"))
    clean = np.asarray(Image.open(tmp_path / "0.png"))
    bad, good = (quality.score for quality in EmbeddedMapper(str(out))([noisy, clean]))
    assert bad < 0.35 < 0.65 < good


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("none.png,3", "there is no file"),
        ("0.png,good", "the score 'good' is no number"),
        ("0.png,nan", "is not finite"),
        ("0.png", "the score None is no number"),
    ],
)
def test_bad_scores_are_one_line(tmp_path, scores, row, message):
    scores.write_text(scores.read_text() + row + "\n")
    done = run("train_mapper", "--scores", scores, "--out", tmp_path / "mine.safetensors")
    refused(done, message)
    assert "line 22" in done.stderr


def test_scores_without_columns_or_rows(tmp_path, scores):
    few = "\n".join(scores.read_text().splitlines()[:4])
    scores.write_text(few)
    refused(run("train_mapper", "--scores", scores, "--out", tmp_path / "mine.safetensors"), "ten or more")
    scores.write_text(few.replace("score", "mark"))
    refused(run("train_mapper", "--scores", scores, "--out", tmp_path / "mine.safetensors"), "file and score")


def test_scores_with_foreign_weights(tmp_path, scores):
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"damaged")
    done = run("train_mapper", "--scores", scores, "--weights", foreign, "--out", tmp_path / "mine.safetensors")
    refused(done, "not a sound safetensors file")
