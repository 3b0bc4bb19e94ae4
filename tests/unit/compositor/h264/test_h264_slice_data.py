"""Synthesized pictures: what the standard's steps read in them, and what FFmpeg shows of them."""

import av
import numpy as np
import pytest
from h264_pcm_streams import SLICE_B, PcmStream, noise
from h264_slice_reader import ReadSlice
from hypothesis import given, settings
from hypothesis import strategies as st

from compositor.h264.slice_data import Strip, all_skipped, mosaic, panned, random_mosaic_bits

# Bits of a macroblock with a skip run of 0 before it, and its type, by how its blocks are alike.
PATTERNS = {
    "P_Skip": {0b0000},
    "P_L0_16x16": {0b1111},
    "P_L0_L0_16x8": {0b1100, 0b0011},
    "P_L0_L0_8x16": {0b1010, 0b0101},
}
TYPE_OF = {p: name for name, patterns in PATTERNS.items() for p in patterns}

sides = st.integers(1, 6)


@st.composite
def mosaics(draw):
    """Blocks of up to 6 x 6 macroblocks, from all alike to all different."""
    shape = 2 * draw(sides), 2 * draw(sides)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shown = rng.random(shape) < draw(st.sampled_from([0, 0.02, 0.2, 0.5, 0.8, 0.98, 1]))
    if draw(st.booleans()):
        # Whole macroblocks, so that there are long runs.
        shown = np.kron(shown[::2, ::2], np.ones((2, 2), bool))
    return shown


vectors = st.sampled_from([-8192, -64, -4, 0, 0, 4, 64, 8191]) | st.integers(-8192, 8191)


@st.composite
def pans(draw):
    """Strips of up to 6 macroblocks, in few pieces or in many."""
    count = 2 * draw(sides)
    motions = draw(st.lists(st.builds(Strip, st.integers(0, 1), vectors), min_size=1, max_size=4))
    pieces = draw(st.lists(st.integers(0, len(motions) - 1), min_size=count, max_size=count))
    if draw(st.booleans()):
        pieces.sort()
    return [motions[piece] for piece in pieces], draw(sides)


def slide(width, shift, *, leaving):
    """The strips of a slide by `shift` columns, as the design has it."""
    seam = -(-(width - shift) // 8)
    return [Strip(leaving, 4 * shift)] * seam + [Strip(1 - leaving, -4 * (width - shift))] * (
        width // 8 - seam
    )


# What the standard's steps read


@pytest.mark.parametrize("macroblocks", [1, 2, 7, 36])
def test_a_skipped_picture_is_one_run(macroblocks):
    read = ReadSlice(all_skipped(macroblocks), macroblocks, 1)
    assert read.types == ["P_Skip"] * macroblocks


@pytest.mark.parametrize("pattern", range(16))
def test_each_pattern_takes_its_shortest_macroblock(pattern):
    shown = np.array([[pattern & 8, pattern & 4], [pattern & 2, pattern & 1]]) != 0
    read = ReadSlice(mosaic(shown), 1, 1)
    assert read.types == [TYPE_OF.get(pattern, "P_8x8")]
    assert np.array_equal(read.blocks()[0], shown)


@given(mosaics())
def test_a_mosaic_reads_back(shown):
    read = ReadSlice(mosaic(shown), shown.shape[1] // 2, shown.shape[0] // 2)
    references, vectors = read.blocks()
    assert np.array_equal(references, shown)
    assert not np.any(vectors)
    assert read.wasted == 0


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.5, 0.8, 0.97])
def test_the_bits_of_a_dissolve_are_known_before(share):
    rng = np.random.default_rng(0)
    bits = [len(mosaic(rng.random((90, 160)) < share)) for _ in range(20)]
    assert random_mosaic_bits(share, 45 * 80) == pytest.approx(np.mean(bits), rel=0.02)


@pytest.mark.parametrize("mb_columns", [1, 2, 3, 36])
def test_the_bits_of_a_still_are_known_exactly(mb_columns):
    for share in (0, 1):
        shown = np.full((2, 2 * mb_columns), share == 1)
        assert random_mosaic_bits(share, mb_columns) == len(mosaic(shown))


@given(pans())
def test_a_pan_reads_back(pan):
    strips, mb_rows = pan
    read = ReadSlice(panned(strips, mb_rows), len(strips) // 2, mb_rows)
    references, vectors = read.blocks()
    assert references == [[strip.reference for strip in strips]] * (2 * mb_rows)
    assert vectors == [[(strip.mv_x, 0) for strip in strips]] * (2 * mb_rows)
    assert read.wasted == 0


def test_a_wipe_is_a_pan_that_rests():
    for column in range(13):
        shown = np.zeros((6, 12), bool)
        shown[:, :column] = True
        strips = [Strip(int(n < column), 0) for n in range(12)]
        assert panned(strips, 3) == mosaic(shown)


def test_what_rests_between_what_moves_is_skipped():
    moving, resting = Strip(0, 8), Strip(0, 0)
    read = ReadSlice(panned([moving] * 2 + [resting] * 2 + [moving] * 2, 3), 3, 3)
    assert [kind == "P_Skip" for kind in read.types] == [False, True, False] * 3
    assert read.wasted == 0


@pytest.mark.parametrize("leaving", [0, 1])
@pytest.mark.parametrize("mb_rows", [1, 2, 5])
def test_slides_read_back_at_every_even_step(leaving, mb_rows):
    for columns in range(1, 9):
        width = 16 * columns
        for shift in range(0, width + 1, 2):
            strips = slide(width, shift, leaving=leaving)
            read = ReadSlice(panned(strips, mb_rows), columns, mb_rows)
            references, vectors = read.blocks()
            assert references[-1] == references[0] == [strip.reference for strip in strips]
            assert vectors[-1] == vectors[0] == [(strip.mv_x, 0) for strip in strips]
            assert read.wasted == 0


def test_the_skipped_side_of_a_slide_costs_next_to_nothing():
    strips = slide(1920, 240, leaving=0)
    # 15 of 120 columns are written, in 6 bits and the end of a run; the first column is 16x16.
    assert len(panned(strips, 68)) < 68 * 240


@pytest.mark.parametrize("shape", [(0, 0), (2, 0), (1, 2), (2, 3), (4,), (2, 2, 2)], ids=str)
def test_blocks_that_are_no_macroblocks_are_refused(shape):
    with pytest.raises(ValueError, match="whole macroblocks"):
        mosaic(np.zeros(shape, bool))


def test_strips_that_are_no_picture_are_refused():
    strip = Strip(0, 4)
    for strips, mb_rows in (([], 1), ([strip], 1), ([strip] * 3, 1), ([strip] * 2, 0)):
        with pytest.raises(ValueError, match="row of macroblocks"):
            panned(strips, mb_rows)
    with pytest.raises(ValueError, match="at least one macroblock"):
        all_skipped(0)


@pytest.mark.parametrize(("reference", "mv_x"), [(-1, 0), (2, 0), (0, 8192), (0, -8193)])
def test_strips_that_cannot_be_synthesized_are_refused(reference, mv_x):
    with pytest.raises(ValueError, match=r"0 or 1|out of range"):
        Strip(reference, mv_x)


# What FFmpeg shows


def stills(mb_columns, mb_rows):
    return noise(mb_columns, mb_rows, 1), noise(mb_columns, mb_rows, 2)


def tiled(references, shown):
    """Planes in which each 8x8 luma block comes from the reference that `shown` names."""
    planes = []
    for zero, one, side in zip(*references, (8, 4, 4), strict=True):
        mask = np.kron(shown, np.ones((side, side), bool))
        planes.append(np.where(mask, one, zero))
    return planes


def moved(references, strips):
    """Planes in which each strip comes from its reference, whose edge columns go on for ever."""
    planes = []
    for i, side in enumerate((8, 4, 4)):
        width = references[0][i].shape[1]
        parts = []
        for n, strip in enumerate(strips):
            shift = strip.mv_x / 4 / (8 // side)
            if -width < shift < width:
                assert shift == int(shift)
            columns = np.clip(np.arange(n * side, (n + 1) * side) + shift, 0, width - 1)
            parts.append(references[strip.reference][i][:, columns.astype(int)])
        planes.append(np.hstack(parts))
    return planes


def assert_same(decoded, expected):
    assert len(decoded) == len(expected)
    for shown, wanted in zip(decoded, expected, strict=True):
        for plane, exact in zip(shown, wanted, strict=True):
            assert np.array_equal(plane, exact)


def test_a_broken_picture_is_noticed():
    stream = PcmStream(*stills(3, 2))
    stream.synthesize(all_skipped(7), a_first=True)
    with pytest.raises((AssertionError, av.error.InvalidDataError)):
        stream.pictures()


@pytest.mark.parametrize("a_first", [True, False])
def test_a_skipped_picture_shows_reference_0(a_first):
    a, b = stills(3, 2)
    stream = PcmStream(a, b)
    for _ in range(3):
        stream.synthesize(all_skipped(6), a_first=a_first)
    assert_same(stream.pictures(), [a if a_first else b] * 3)


def test_a_skipped_picture_between_two_shows_their_mean():
    a, b = stills(3, 2)
    stream = PcmStream(a, b, between=True)
    stream.synthesize(all_skipped(6), a_first=True, kind=SLICE_B)
    mean = [(pa.astype(int) + pb + 1) // 2 for pa, pb in zip(a, b, strict=True)]
    assert_same(stream.pictures(), [mean])


@pytest.mark.parametrize("a_first", [True, False])
def test_every_pattern_shows_its_blocks(a_first):
    a, b = stills(3, 3)
    references = (a, b) if a_first else (b, a)
    stream, expected = PcmStream(a, b), []
    for pattern in range(16):
        block = np.array([[pattern & 8, pattern & 4], [pattern & 2, pattern & 1]]) != 0
        # Alone in the middle, alone in the last place, everywhere.
        middle, last = np.zeros((6, 6), bool), np.zeros((6, 6), bool)
        middle[2:4, 2:4] = last[4:6, 4:6] = block
        for shown in (middle, last, np.tile(block, (3, 3))):
            stream.synthesize(mosaic(shown), a_first=a_first)
            expected.append(tiled(references, shown))
    assert_same(stream.pictures(), expected)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=8), sides, sides, st.booleans())
def test_random_mosaics_show_their_blocks(seeds, mb_columns, mb_rows, a_first):
    a, b = stills(mb_columns, mb_rows)
    references = (a, b) if a_first else (b, a)
    stream, expected = PcmStream(a, b), []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        shown = rng.random((2 * mb_rows, 2 * mb_columns)) < rng.random()
        stream.synthesize(mosaic(shown), a_first=a_first)
        expected.append(tiled(references, shown))
    assert_same(stream.pictures(), expected)


@pytest.mark.parametrize("a_first", [True, False])
@pytest.mark.parametrize("mb_columns", range(1, 7))
def test_wipes_show_their_edge_at_every_column(mb_columns, a_first):
    a, b = stills(mb_columns, 2)
    references = (a, b) if a_first else (b, a)
    stream, expected = PcmStream(a, b), []
    for column in range(2 * mb_columns + 1):
        shown = np.zeros((4, 2 * mb_columns), bool)
        shown[:, :column] = True
        stream.synthesize(mosaic(shown), a_first=a_first)
        expected.append(tiled(references, shown))
    assert_same(stream.pictures(), expected)


@pytest.mark.parametrize("leaving", [0, 1])
@pytest.mark.parametrize("mb_columns", range(1, 10))
def test_slides_show_both_stills_at_every_even_step(mb_columns, leaving):
    a, b = stills(mb_columns, 3)
    stream, expected = PcmStream(a, b), []
    # Widths that are cropped slide by their own width over the coded columns.
    for width in range(16 * mb_columns - 14, 16 * mb_columns + 1, 2):
        for shift in range(0, width + 1, 2):
            seam = -(-(width - shift) // 8)
            strips = [
                Strip(leaving, 4 * shift) if n < seam else Strip(1 - leaving, 4 * (shift - width))
                for n in range(2 * mb_columns)
            ]
            a_first = shift % 4 == 0
            stream.synthesize(panned(strips, 3), a_first=a_first)
            expected.append(moved((a, b) if a_first else (b, a), strips))
    assert_same(stream.pictures(), expected)


# The last are fractions of a sample, but so far outside that all columns there are alike.
FAR = [-8192, -8188, -4096, -2048, -512, 512, 2048, 4096, 8184, 8191, -8191, 8189]


@pytest.mark.parametrize("mb_columns", [1, 2, 3, 6])
def test_vectors_reach_far_outside(mb_columns):
    a, b = stills(mb_columns, 2)
    stream, expected = PcmStream(a, b), []
    for i, first in enumerate(FAR):
        for second in FAR:
            strips = [Strip(i % 2, first)] * mb_columns + [Strip(1 - i % 2, second)] * mb_columns
            stream.synthesize(panned(strips, 2), a_first=True)
            expected.append(moved((a, b), strips))
    assert_same(stream.pictures(), expected)


def test_slides_of_the_widest_kind_show_both_stills():
    a, b = stills(128, 1)
    stream, expected = PcmStream(a, b), []
    for shift in (2, 8, 250, 1000, 1022, 1024, 1026, 2000, 2040, 2046):
        strips = slide(2048, shift, leaving=shift > 1024)
        stream.synthesize(panned(strips, 1), a_first=shift % 4 == 0)
        references = (a, b) if shift % 4 == 0 else (b, a)
        expected.append(moved(references, strips))
    assert_same(stream.pictures(), expected)


even_steps = st.integers(-1024, 1023).map(lambda step: 8 * step)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), even_steps), min_size=1, max_size=4),
    st.data(),
    sides,
    sides,
)
def test_random_pans_show_their_strips(motions, data, mb_columns, mb_rows):
    a, b = stills(mb_columns, mb_rows)
    stream, expected = PcmStream(a, b), []
    count = 2 * mb_columns
    for _ in range(4):
        pieces = data.draw(
            st.lists(st.integers(0, len(motions) - 1), min_size=count, max_size=count)
        )
        strips = [Strip(*motions[piece]) for piece in pieces]
        stream.synthesize(panned(strips, mb_rows), a_first=True)
        expected.append(moved((a, b), strips))
    assert_same(stream.pictures(), expected)
