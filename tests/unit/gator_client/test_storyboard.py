"""Storyboard files: what they say, and what is wrong in them, by line."""

import json
import math

import pytest

from gator_client import Scene, StoryboardError, load_storyboard
from gator_client.storyboard import MAX_FILE_SIZE, parse_storyboard

WHOLE = """\
quality: draft
transition: Slide
duration_per_frame: 2.5
use_ai_generation: false
scenes:
  - a quiet harbour
  - prompt: a market
    negative_prompt: people
    duration: 4
    transition: zoom
    transition_duration: 0.25
    seed: 18446744073709551615
    num_inference_steps: 30
    guidance_scale: 9
"""
SCENES = (
    Scene("a quiet harbour"),
    Scene("a market", "people", 4, "zoom", 0.25, 18446744073709551615, 30, 9),
)
OPTIONS = {
    "quality": "draft",
    "transition": "Slide",
    "duration_per_frame": 2.5,
    "use_ai_generation": False,
}


def test_yaml():
    board = parse_storyboard(WHOLE)
    assert board.scenes == SCENES
    assert board.options == OPTIONS


def test_json_says_the_same(tmp_path):
    path = tmp_path / "story.json"
    scenes = [
        "a quiet harbour",
        {
            "prompt": "a market",
            "negative_prompt": "people",
            "duration": 4,
            "transition": "zoom",
            "transition_duration": 0.25,
            "seed": 18446744073709551615,
            "num_inference_steps": 30,
            "guidance_scale": 9,
        },
    ]
    path.write_text(json.dumps({**OPTIONS, "scenes": scenes}, indent=1), encoding="utf-8-sig")
    board = load_storyboard(path)
    assert board.scenes == SCENES
    assert board.options == OPTIONS


def test_json_escapes_and_tabs_are_those_of_json():
    board = parse_storyboard('\t{"scenes":\t["a\\ud83d\\ude00\\/"]}')
    assert board.scenes == (Scene("a😀/"),)


def test_a_list_of_prompts_is_enough():
    assert parse_storyboard("- a\n- b\n").scenes == (Scene("a"), Scene("b"))
    assert parse_storyboard("[a, b]").scenes == (Scene("a"), Scene("b"))


def test_a_key_without_a_value_is_unset():
    board = parse_storyboard("quality:\nscenes:\n  - prompt: a\n    seed:\n")
    assert board.options == {}
    assert board.scenes == (Scene("a"),)


def test_scenes_may_share_settings():
    board = parse_storyboard(
        "scenes:\n  - &calm {prompt: a, duration: 9}\n  - {<<: *calm, prompt: b}\n"
    )
    assert board.scenes == (Scene("a", duration=9), Scene("b", duration=9))


def test_what_is_no_number_is_left_to_the_render():
    assert math.isnan(
        parse_storyboard("duration_per_frame: .nan\nscenes: [a]").options["duration_per_frame"]
    )


def test_every_problem_is_told_with_its_line(tmp_path):
    path = tmp_path / "story.yaml"
    path.write_text(
        "qualty: high\n"
        "transition: crosfade\n"
        'duration_per_frame: "3"\n'
        "scenes:\n"
        "  - a\n"
        "  - prompt: b\n"
        "    duraton: 3\n"
        "    prompt: c\n"
        "  - 7\n"
        "  - seed: 1.5\n"
        "  - prompt:\n",
        encoding="utf-8",
    )
    with pytest.raises(StoryboardError) as caught:
        load_storyboard(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == (f"{path}:1: qualty: is not a key of a storyboard; did you mean quality?")
    assert [(p.line, p.key) for p in caught.value.problems] == [
        (1, "qualty"),
        (2, "transition"),
        (3, "duration_per_frame"),
        (7, "scenes[1].duraton"),
        (8, "scenes[1].prompt"),
        (9, "scenes[2]"),
        (10, "scenes[3].seed"),
        (10, "scenes[3].prompt"),
        (11, "scenes[4].prompt"),
    ]
    assert "did you mean crossfade?" in lines[1]
    assert "did you mean duration?" in lines[3]


def test_lines_are_known_in_json_too():
    with pytest.raises(StoryboardError) as caught:
        parse_storyboard('{"scenes": [\n"a",\n{"prompt": "b",\n"seed": "x"}]}')
    assert [(p.line, p.key) for p in caught.value.problems] == [(4, "scenes[1].seed")]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "holds no storyboard"),
        ("just text", 1, "holds no storyboard"),
        ("quality: high", 1, "is missing"),
        ("scenes: []", 1, "at least one scene"),
        ("scenes: a", 1, "at least one scene"),
        ("scenes: [a\n", 2, "is not YAML"),
        ('{"scenes": [}', 1, "is not JSON"),
        ("scenes: [!!python/object:os.system x]", 1, "is not YAML"),
        ("[" * 10_000, None, "nested too deeply"),
        ("? [a]\n: b", 1, "is not YAML"),
        ("&a [*a]", 1, "is a list"),
    ],
)
def test_what_is_no_storyboard(text, line, words):
    with pytest.raises(StoryboardError, match=words) as caught:
        parse_storyboard(text)
    assert line in [problem.line for problem in caught.value.problems]


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "story.yaml"
    path.write_bytes(b"scenes:\n- \xff\n")
    with pytest.raises(StoryboardError, match=r"story.yaml:2: is not UTF-8"):
        load_storyboard(path)


def test_a_file_that_is_far_too_large(tmp_path):
    path = tmp_path / "story.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_SIZE + 1)
    with pytest.raises(StoryboardError, match="more than"):
        load_storyboard(path)
