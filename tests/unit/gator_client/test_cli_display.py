"""The live display of `gator render`: what it shows for what it hears."""

import io

from rich.console import Console
from scripted_gateway import accepted, finished, generating, progress, queued

from gator_client.cli.display import RenderDisplay
from gator_client.response import to_event


def shown(display, console):
    with console.capture() as captured:
        console.print(display._picture())
    return captured.get()


def test_the_display_tells_how_far_a_render_is():
    console = Console(file=io.StringIO(), width=90, height=40)
    display = RenderDisplay(console, ["a [hill]", "b", "c"], "in this process")
    assert "Starting in this process" in shown(display, console)
    request = type("Request", (), {"scenes": [None] * 3})
    for message in (accepted(request), finished(0), generating(1, 12, 25), progress(request, 0.5)):
        display.on_event(to_event(message, ()))
    text = shown(display, console)
    assert "Rendering 3 scenes: 9.0 s, 854x480 at 24 fps" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["1", "a", "[hill]", "placeholder,", "0.1", "s"] in rows
    bar = "\u2501" * 3 + "\u2578"  # 4 of 8 columns in part, the rest is drawn by colour
    assert ["2", "b", bar, "step", "12", "of", "25,", "4.0", "s", "left"] in rows
    assert ["3", "c", "waiting"] in rows
    assert "108 of 216 pictures" in text
    assert "50%" in text


def test_the_display_has_bars_where_there_is_room():
    for columns, wide in ((120, 16), (80, 8), (79, 0)):
        console = Console(file=io.StringIO(), width=columns, height=40)
        display = RenderDisplay(console, ["a hill with quite some words about it"], "here")
        display.on_event(to_event(generating(0, 25, 25), ()))
        row = shown(display, console).splitlines()[2]
        assert row.count("\u2501") == wide
        assert "step 25 of 25, 4.0 s left" in row


def test_the_display_tells_that_a_model_is_downloaded():
    console = Console(file=io.StringIO(), width=90, height=40)
    display = RenderDisplay(console, ["a", "b"], "here")
    for message in (queued(0, time_left=600), queued(1)):
        display.on_event(to_event(message, ()))
    text = shown(display, console)
    assert "waits for the model, 10 min" in text
    assert "in the queue" in text


def test_the_display_fits_a_small_terminal():
    console = Console(file=io.StringIO(), width=60, height=15)
    display = RenderDisplay(console, [f"scene {n}" for n in range(1, 501)], "here")
    for index in range(250):
        display.on_event(to_event(finished(index), ()))
    text = shown(display, console)
    assert len(text.splitlines()) < 15
    assert "scene 251" in text
