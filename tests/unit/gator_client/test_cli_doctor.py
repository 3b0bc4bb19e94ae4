"""`gator doctor`: what it says of decoders that agree, differ, fail, or are not there."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from command import gator, listing

import standalone.doctor
from compositor.doctor.clips import clips
from standalone.doctor import CheckedClip, ExaminationError, Outcome, Verdict

pytestmark = pytest.mark.usefixtures("empty_folder")

FFMPEG = Outcome("FFmpeg", Verdict.AGREES)
MISSING = Outcome("FFmpeg cuda", Verdict.MISSING, reason="no such device")
CLIPS = [clip for clip in clips() if clip.name in ("cut", "wipe")]


class Scripted:
    """An examination that finds what it is told."""

    outcomes = ()
    fails = False

    def __init__(self, folder, *, keep):
        self.folder, self.keep = folder, keep
        self.clips = CLIPS

    def check(self, clip):
        if self.fails:
            raise ExaminationError(f"clip {clip.name}: the encoder is tired")
        assert self.folder.is_dir()
        agreeing = [replace(outcome, verdict=Verdict.AGREES) for outcome in self.outcomes]
        others = self.outcomes if clip.name == "wipe" else agreeing
        return CheckedClip(clip, clip.timeline.frame_count, (FFMPEG, *others, MISSING))

    def write_page(self):
        assert self.keep
        path = self.folder / "players.html"
        path.write_text("page")
        return path


@pytest.fixture(autouse=True)
def scripted(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(standalone.doctor, "Examination", Scripted)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
    monkeypatch.setattr(Scripted, "outcomes", ())
    monkeypatch.setattr(Scripted, "fails", False)


def test_without_options_it_says_what_it_can_check():
    done = gator("doctor")
    assert done.exit_code == 0
    assert "gator doctor --decoders -o" in done.stdout
    assert gator("doctor", "-o", "check").exit_code == 2
    assert listing() == []


def test_decoders_that_agree(monkeypatch):
    monkeypatch.setattr(Scripted, "outcomes", (Outcome("OpenH264", Verdict.AGREES),))
    done = gator("doctor", "--decoders")
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["clip", "pictures", "FFmpeg", "OpenH264"]
    assert lines[1:3] == [[c.name, str(c.timeline.frame_count), *["agrees"] * 2] for c in CLIPS]
    assert "Not here: FFmpeg cuda (no such device)" in done.stdout
    assert listing() == []
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome("card", Verdict.DIFFERS, 12), "card differs at picture 12"),
        (Outcome("card", Verdict.FAILS, 0, "no memory"), "card fails at picture 0: no memory"),
    ],
)
def test_a_decoder_that_does_not_agree(outcome, said, monkeypatch):
    monkeypatch.setattr(Scripted, "outcomes", (outcome,))
    done = gator("doctor", "--decoders")
    assert done.exit_code == 1
    wipe = CLIPS[1]
    assert f"wipe ({wipe.about}): {said}" in " ".join(done.stdout.split())
    assert "cut (" not in done.stdout


def test_a_folder_keeps_what_was_made():
    done = gator("doctor", "--decoders", "-o", "new/check")
    assert done.exit_code == 0
    assert "new/check/players.html" in done.stdout
    assert Path("new/check/players.html").read_text() == "page"


def test_a_clip_that_cannot_be_composed(monkeypatch):
    monkeypatch.setattr(Scripted, "fails", True)
    done = gator("doctor", "--decoders")
    assert done.exit_code == 1
    assert "Error: clip cut: the encoder is tired" in done.stderr
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_a_folder_that_is_a_file():
    Path("check").write_text("")
    done = gator("doctor", "--decoders", "-o", "check")
    assert done.exit_code == 1
    assert "check: File exists" in done.stderr
