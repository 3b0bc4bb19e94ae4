"""What the benchmarks measure with; nothing here is timed."""

from fractions import Fraction

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from rpckit.video import Quality
from tests.benchmarks import ffmpeg
from tests.benchmarks.cases import computed
from tests.benchmarks.job import Job, stored
from tests.benchmarks.measure import ContenderError, Run, command
from tests.benchmarks.quality import compositions, samples, ssim
from tests.benchmarks.rows import Row
from tests.support import natural, reference


@pytest.fixture
def job(tmp_path):
    pictures = [natural.still(index, 854, 480) for index in range(2)]
    stills = stored("natural", pictures, tmp_path / "stills")

    def make(count=2, duration=Fraction(1), transition="CROSSFADE", quality=Quality.DRAFT):
        return Job(quality, stills, tmp_path, count, duration, transition)

    return make


def test_ssim_is_that_of_the_paper():
    rng = np.random.default_rng(1)
    a = natural.still(0, 320, 180)[..., 1].astype(np.float32)
    b = np.clip(a + rng.normal(0, 6, a.shape), 0, 255).astype(np.float32)
    known = structural_similarity(
        a, b, data_range=255, gaussian_weights=True, use_sample_covariance=False
    )
    assert ssim(a, b) == pytest.approx(known, abs=1e-4)
    assert ssim(a, a) == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 2, 20])
def test_samples_stand_for_all_pictures(job, count):
    made = job(count)
    shown = reference.timeline(made.scenes, made.preset.fps)
    chosen = samples(made)
    assert sum(sample.weight for sample in chosen) == pytest.approx(made.frame_count)
    assert all((shown[sample.number].p is None) is sample.held for sample in chosen)


@pytest.mark.parametrize("transition", ["CROSSFADE", "FADE"])
def test_the_strongest_command_shows_the_pictures_of_the_design(job, transition):
    made = job(transition=transition)
    chosen = samples(made)
    told = ffmpeg.lossless(made, [sample.number for sample in chosen])
    for picture, wanted in zip(told, compositions(made, chosen), strict=True):
        assert np.abs(picture - wanted).max() < 1.5


def test_what_is_not_run_is_computed_from_what_is(job):
    def row(duration, wall=None, count=2):
        made = Row(job(count, Fraction(duration)), "medium", "")
        made.runs = [] if wall is None else [Run(wall)]
        return made

    assert computed(row(100), []) is None
    assert computed(row(100), [row(10, 5)]) == pytest.approx(50)
    assert computed(row(100), [row(10, 5), row(20, 6), row(20, 99, count=4)]) == pytest.approx(14)


def test_a_command_tells_what_it_took_or_why_it_failed(tmp_path):
    log = tmp_path / "log"
    run = command(["sh", "-c", "sleep 0.2; echo made"], log, family=True)
    assert log.read_text() == "made\n"
    assert run.wall > 0.2
    assert run.memory < 100e6
    with pytest.raises(ContenderError, match="sh ended with 3: no way"):
        command(["sh", "-c", "echo no way; exit 3"], log)
