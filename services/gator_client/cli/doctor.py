"""`gator doctor`: whether this machine, a browser or a phone shows videos as they were composed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gator_client.cli.failure import failing
from gator_client.cli.running import run
from gator_client.cli.wording import say
from gator_client.embedded import needs_standalone
from gator_client.errors import RenderError

if TYPE_CHECKING:
    from standalone.doctor import CheckedClip, Examination, Outcome

_WHAT = """\
gator doctor checks whether videos are shown as they were composed:

  gator doctor --decoders              the H.264 decoders of this machine
  gator doctor --decoders -o check     and, by a page in the folder check, a browser or a phone

More: gator doctor --help"""


def doctor(
    decoders: Annotated[
        bool, typer.Option("--decoders", metavar="", help="Check the H.264 decoders found here.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the clips, their checksums and a page that checks browsers and "
            "phones; made if it is not there.",
        ),
    ] = None,
) -> None:
    """Check that decoders, browsers and phones show videos as composed.

    gator doctor --decoders

    Composes a dozen short clips and has every H.264 decoder found here show
    them: FFmpeg's, whose pictures are taken for right; those of graphics cards
    and other devices that FFmpeg reaches; and OpenH264 (Debian: libopenh264-7,
    or the library named in GATOR_OPENH264_LIBRARY). All pictures must be the
    same, bit for bit. The exit status is 1 if any differ.

    gator doctor --decoders -o check

    Keeps the clips. Open check/players.html in a browser, or send it to a
    phone: the page has the clips inside, plays them, goes to their pictures
    and says whether they look as they should. For other players and decoders,
    check/NAME.framemd5 has the checksum of each picture, in the form in which
    `ffmpeg -i check/NAME.mp4 -f framemd5 -` prints it.
    """
    if not decoders:
        if output is not None:
            raise typer.BadParameter("--output goes with --decoders")
        typer.echo(_WHAT)
        return
    with failing():
        if not run(_examine(output)):
            raise typer.Exit(1)


async def _examine(output: Path | None) -> bool:
    with needs_standalone():
        # Loaded now: it brings all three services along.
        from standalone.doctor import Examination, ExaminationError  # noqa: PLC0415
    with _folder(output) as folder:
        examination = Examination(folder, keep=output is not None)
        try:
            checked = await _checked(examination)
        except ExaminationError as error:
            raise RenderError(str(error), code="INTERNAL", reason="ENCODING_FAILED") from error
        console = Console(highlight=False)
        console.print(_table(checked))
        _explain(console, checked)
        if output is not None:
            page = examination.write_page()
            say(console, Text(f"Clips, checksums and the page for browsers and phones: {page}"))
    return not _wrong(checked)


@contextmanager
def _folder(output: Path | None) -> Iterator[Path]:
    if output is None:
        with TemporaryDirectory(prefix="gator-doctor-") as name:
            yield Path(name)
    else:
        output.mkdir(parents=True, exist_ok=True)
        yield output


async def _checked(examination: Examination) -> list[CheckedClip]:
    checked = []
    clips = examination.clips
    with Console(stderr=True).status("") as status:
        for number, clip in enumerate(clips, 1):
            status.update(f"{clip.name} ({number} of {len(clips)})")
            checked.append(await asyncio.to_thread(examination.check, clip))
    return checked


def _missing(checked: list[CheckedClip]) -> dict[str, str]:
    """Decoders that are not on this machine, and what they say."""
    outcomes = checked[0].outcomes
    return {o.decoder: o.reason for o in outcomes if o.verdict.value == "missing"}


def _wrong(checked: list[CheckedClip]) -> list[tuple[CheckedClip, Outcome]]:
    fine = ("agrees", "missing")
    return [(c, o) for c in checked for o in c.outcomes if o.verdict.value not in fine]


def _table(checked: list[CheckedClip]) -> Table:
    missing = _missing(checked)
    present = [o.decoder for o in checked[0].outcomes if o.decoder not in missing]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("clip")
    table.add_column("pictures", justify="right")
    for name in present:
        table.add_column(name)
    for item in checked:
        cells = [_cell(o) for o in item.outcomes if o.decoder not in missing]
        table.add_row(item.clip.name, str(item.pictures), *cells)
    return table


def _cell(outcome: Outcome) -> Text:
    if outcome.verdict.value == "agrees":
        return Text("agrees", "green")
    return Text(f"{outcome.verdict.value} at picture {outcome.picture}", "bold red")


def _explain(console: Console, checked: list[CheckedClip]) -> None:
    console.print()
    for item, outcome in _wrong(checked):
        reason = f": {outcome.reason}" if outcome.reason else ""
        what = f"{outcome.decoder} {outcome.verdict.value} at picture {outcome.picture}"
        say(console, Text(f"{item.clip.name} ({item.clip.about}): {what}{reason}"))
    missing = [f"{decoder} ({reason})" for decoder, reason in _missing(checked).items()]
    if missing:
        say(console, Text(f"Not here: {', '.join(missing)}", "dim"))
