"""The figures as Markdown tables that are also some on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.benchmarks.rows import Row

Column = tuple[str, Callable[[Row, dict[str, Row]], str]]
"""Heading, and the text of a row; given the rows of the same job by their keys."""


def markdown(headings: Sequence[str], lines: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table; the first `texts` columns are words, the others figures."""
    rows = [tuple(headings), *map(tuple, lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(headings))]

    def text(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if i < texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = [("-" * w if i < texts else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    return "\n".join([text(rows[0]), text(rule), *map(text, rows[1:])])


def rendered(columns: Sequence[Column], rows: Sequence[Row], texts: int = 2) -> str:
    """A table of rows."""
    jobs: dict[str, dict[str, Row]] = {}
    for row in rows:
        jobs.setdefault(_of(row), {})[row.key] = row
    lines = [[cell(row, jobs[_of(row)]) for _, cell in columns] for row in rows]
    return markdown([heading for heading, _ in columns], lines, texts)


def _of(row: Row) -> str:
    return f"{row.job.name} {row.job.stills.kind}"


def _figure(name: str, form: str, scale: float = 1) -> Callable[[Row, dict[str, Row]], str]:
    def cell(row: Row, _: dict[str, Row]) -> str:
        value = row.median(name)
        return "" if value is None else format(value / scale, form)

    return cell


def _wall(row: Row, _: dict[str, Row]) -> str:
    if row.wall is None:
        return "none"
    return _seconds(row.wall) if row.runs else f"~{row.wall:.0f}"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _size(row: Row, _: dict[str, Row]) -> str:
    return "" if row.outcome is None else f"{row.outcome.size / 1e6:.2f}"


def _likeness(name: str, form: str) -> Callable[[Row, dict[str, Row]], str]:
    def cell(row: Row, _: dict[str, Row]) -> str:
        if row.outcome is None or row.outcome.likeness is None:
            return ""
        return format(getattr(row.outcome.likeness, name), form)

    return cell


def _faster(than: str) -> Column:
    """How many times faster than a contender."""

    def cell(row: Row, others: dict[str, Row]) -> str:
        factor = ratio(others.get(than), row)
        return "" if factor is None or row.key == "floor" else f"{factor:.1f}"

    return f"x {than}", cell


def _of_floor(row: Row, others: dict[str, Row]) -> str:
    factor = ratio(row, others.get("floor"))
    return "" if factor is None else f"{factor:.2f}"


def ratio(one: Row | None, other: Row | None) -> float | None:
    """Wall time of one over that of the other."""
    if one is None or other is None or one.wall is None or other.wall is None:
        return None
    return one.wall / other.wall


FRAMES: Sequence[Column] = (
    ("job", lambda row, _: row.job.name),
    ("what", lambda row, _: row.title),
    ("wall s", _wall),
    ("process s", _figure("process", ".2f")),
    ("CPU s", _figure("cpu", ".2f")),
    ("memory MB", _figure("memory", ".0f", 1e6)),
    ("video MB", _size),
    ("SSIM Y", _likeness("ssim", ".4f")),
    ("worst", _likeness("worst", ".4f")),
    ("PSNR Y", _likeness("psnr", ".1f")),
    _faster("medium"),
    _faster("veryfast"),
    _faster("moviepy"),
    ("of floor", _of_floor),
    ("runs", lambda row, _: str(len(row.runs))),
)
"""Of jobs from raw frames."""

RENDERS: Sequence[Column] = (
    ("job", lambda row, _: f"{row.job.name}, {row.job.stills.kind}"),
    ("what", lambda row, _: row.title),
    ("wall s", _wall),
    ("CPU s", _figure("cpu", ".2f")),
    ("first byte s", _figure("first_byte", ".2f")),
    ("frames/s", lambda row, _: "" if row.wall is None else f"{row.pictures / row.wall:.0f}"),
    ("video MB", _size),
    ("SSIM Y", _likeness("ssim", ".4f")),
    ("PSNR Y", _likeness("psnr", ".1f")),
    _faster("recipe"),
    _faster("split"),
    ("of floor", _of_floor),
    ("runs", lambda row, _: str(len(row.runs))),
)
"""Of whole renders."""

ARRIVALS: Sequence[Column] = (
    ("job", lambda row, _: row.job.name),
    ("what", lambda row, _: row.title),
    ("first media s", _figure("first_byte", ".2f")),
    ("after the last frame s", _figure("tail", ".2f")),
    ("CPU s", _figure("cpu", ".2f")),
    ("video MB", _size),
    ("runs", lambda row, _: str(len(row.runs))),
)
"""Of frames that come one by one."""

MEMORY: Sequence[Column] = (
    ("job", lambda row, _: row.job.name),
    ("what", lambda row, _: row.title),
    ("memory MB", _figure("memory", ".0f", 1e6)),
    ("wall s", _wall),
    ("video MB", _size),
)
"""Of few and many scenes."""
