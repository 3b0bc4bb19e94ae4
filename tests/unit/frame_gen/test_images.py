"""Images that others made: which are taken, how they are read, and that nothing else happens."""

import hashlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from frame_gen import images
from frame_gen.images import ImageError, decode_image
from rpckit.frame import PixelFormat

PICTURE = data.astronaut()[60:97, 190:243]
"""Natural, 53 x 37 pixels: no side is even, none is like the other."""
HEIGHT, WIDTH = PICTURE.shape[:2]


def encoded(picture, file_format, **options):
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def decoded(file):
    frame = decode_image(file)
    header = frame.header
    assert header.pixel_format is PixelFormat.RGB24
    assert header.sha256 == hashlib.sha256(frame.data).digest()
    return np.frombuffer(frame.data, np.uint8).reshape(header.height, header.width, 3)


def png_chunk(kind, content=b""):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width, height, *, bits=8, colour=2, rows=b"", before=b""):
    """A PNG file made by hand, with chunks `before` the picture's."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            before,
            png_chunk(b"IDAT", zlib.compress(rows)),
            png_chunk(b"IEND"),
        ]
    )


FILES = {
    "png": encoded(PICTURE, "PNG"),
    "jpeg": encoded(PICTURE, "JPEG", quality=90),
    "progressive jpeg": encoded(PICTURE, "JPEG", quality=90, progressive=True),
    "webp": encoded(PICTURE, "WEBP", quality=90),
    "lossless webp": encoded(PICTURE, "WEBP", lossless=True),
    "animated webp": encoded(
        PICTURE,
        "WEBP",
        save_all=True,
        append_images=[Image.new("RGB", (WIDTH, HEIGHT), "red")],
        lossless=True,
    ),
}


@pytest.mark.parametrize("name", ["png", "lossless webp"])
def test_lossless_files_are_read_to_the_bit(name):
    assert (decoded(FILES[name]) == PICTURE).all()


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "webp"])
def test_lossy_files_are_read_closely(name):
    assert np.abs(decoded(FILES[name]).astype(int) - PICTURE).mean() < 6


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_are_taken(kind):
    assert (decoded(kind(FILES["png"])) == PICTURE).all()


def test_of_an_animation_the_first_picture_is_taken():
    assert (decoded(FILES["animated webp"]) == PICTURE).all()
    others = [Image.new("RGB", (WIDTH, HEIGHT), "red")]
    animation = encoded(PICTURE, "PNG", save_all=True, append_images=others)
    assert (decoded(animation) == PICTURE).all()


@pytest.mark.parametrize(
    "file_format", ["GIF", "TIFF", "BMP", "PPM", "ICO", "TGA", "JPEG2000", "PCX"]
)
def test_other_formats_are_refused_by_name_of_those_that_are_taken(file_format):
    with pytest.raises(ImageError, match="PNG, JPEG, WEBP"):
        decode_image(encoded(PICTURE, file_format))


@pytest.mark.parametrize(
    "given",
    [None, "a picture", 7, [1, 2], {"image_data": b""}, PICTURE],
    ids=lambda x: type(x).__name__,
)
def test_what_is_no_bytes_is_refused_by_its_type(given):
    with pytest.raises(ImageError, match=f"gave {type(given).__name__}, not the bytes"):
        decode_image(given)


def test_bytes_that_lie_apart_are_refused():
    with pytest.raises(ImageError):
        decode_image(memoryview(FILES["png"])[::2])


@pytest.mark.parametrize(
    "file", [b"", b"\x00", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x00\x00\x00\x00WEBP"]
)
def test_beginnings_alone_are_refused(file):
    with pytest.raises(ImageError, match="not a whole PNG, JPEG, WEBP image"):
        decode_image(file)


def test_too_large_a_file_is_refused_unread():
    with pytest.raises(ImageError, match="50000001 bytes; at most 50000000"):
        decode_image(bytes(images.MAX_BYTES + 1))


def test_grey_and_palette_and_single_bits_are_read_as_colours():
    grey = Image.fromarray(PICTURE).convert("L")
    as_colours = np.asarray(grey.convert("RGB"))
    assert (decoded(encoded(grey, "PNG")) == as_colours).all()
    palette = Image.fromarray(PICTURE).quantize(16)
    assert (decoded(encoded(palette, "PNG")) == np.asarray(palette.convert("RGB"))).all()
    bits = Image.fromarray(PICTURE).convert("1")
    assert (decoded(encoded(bits, "PNG")) == np.asarray(bits.convert("RGB"))).all()


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65_535, 64 * 48).astype(np.uint16).reshape(48, 64)
    got = decoded(encoded(Image.fromarray(ramp), "PNG"))
    assert (got == (ramp >> 8)[..., None]).all()
    row = b"\x00" + struct.pack(">6H", 0x1234, 0xFFFF, 0x00FF, 0x8000, 0x7FFF, 0)
    got = decoded(png(2, 1, bits=16, colour=2, rows=row))
    assert np.abs(got.astype(int) - [[[0x12, 0xFF, 0x00], [0x80, 0x7F, 0]]]).max() <= 1


def test_cmyk_jpegs_are_turned_into_rgb():
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    got = decoded(encoded(ink, "JPEG", quality=95))
    assert np.abs(got.astype(int) - (255, 0, 0)).max() < 12


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_transparency_stands_over_black(file_format):
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[: HEIGHT // 2] = 255
    alpha[-1] = 128
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    got = decoded(encoded(np.concatenate([PICTURE, alpha], 2), file_format, **options))
    expected = np.round(PICTURE * (alpha / 255.0))
    assert np.abs(got - expected).max() <= 1


def test_transparency_of_palettes_greys_and_single_colours_stands_over_black():
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 100, 50, 10, 20, 30])
    palette.putpixel((1, 0), 1)
    got = decoded(encoded(palette, "PNG", transparency=bytes([128, 255])))
    assert np.abs(got.astype(int) - [[[100, 50, 25], [10, 20, 30]]]).max() <= 1
    clear = png_chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
    rgb = png(2, 1, rows=b"\x00\x01\x02\x03\x04\x05\x06", before=clear)
    assert decoded(rgb).tolist() == [[[0, 0, 0], [4, 5, 6]]]
    clear = png_chunk(b"tRNS", struct.pack(">H", 9))
    grey = png(2, 1, colour=0, rows=b"\x00\x09\x0a", before=clear)
    assert decoded(grey).tolist() == [[[0, 0, 0], [10, 10, 10]]]


UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p[::-1].swapaxes(0, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p[:, ::-1].swapaxes(0, 1),
    0: lambda p: p,
    9: lambda p: p,
    65_535: lambda p: p,
}


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_picture_is_turned_as_its_exif_says(orientation):
    expected = UPRIGHT[orientation](PICTURE)
    for file_format, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        file = encoded(PICTURE, file_format, exif=exif(orientation), **options)
        assert (decoded(file) == expected).all()
    jpeg = encoded(PICTURE, "JPEG", quality=90, exif=exif(orientation))
    assert np.abs(decoded(jpeg).astype(int) - expected).mean() < 6


BROKEN_EXIF = {
    "garbage": b"Exif\x00\x00garbage!",
    "empty": b"Exif\x00\x00",
    "cut": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x05\x01\x12",
    "loop": b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff"
    b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00",
    "text": b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00"
    b"\x12\x01\x02\x00\x02\x00\x00\x006\x00\x00\x00",
    "list": b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00"
    b"\x12\x01\x03\x00\x02\x00\x00\x00\x06\x00\x06\x00",
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", BROKEN_EXIF)
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
def test_a_broken_exif_does_not_spoil_the_picture(name, file_format):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 90}}.get(file_format, {})
    got = decoded(encoded(PICTURE, file_format, exif=BROKEN_EXIF[name], **options))
    if got.shape != PICTURE.shape:  # a reader may make sense of what is there
        got = got.swapaxes(0, 1)[::-1]
    assert np.abs(got.astype(int) - PICTURE).mean() < 6


BOMBS = {
    "just over": (8_001, 8_000),
    "of 90 megapixels": (9_500, 9_500),
    "of 900 megapixels": (30_000, 30_000),
    "of all a PNG can say": (2**31 - 1, 2**31 - 1),
    "too wide": (16_385, 1),
    "too high": (1, 16_385),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_too_many_pixels_are_refused_before_they_are_decoded(name, action):
    with warnings.catch_warnings(), pytest.raises(ImageError) as caught:
        warnings.simplefilter(action)
        decode_image(png(*BOMBS[name], rows=bytes(100)))
    assert "pixels; at most 64000000 are taken, and 16384 a side" in str(caught.value)


@pytest.mark.parametrize(("width", "height"), [(16_384, 1), (1, 16_384), (1, 1)])
def test_the_longest_sides_and_the_smallest_picture_are_taken(width, height):
    got = decoded(encoded(Image.new("RGB", (width, height), (1, 2, 3)), "PNG"))
    assert got.shape == (height, width, 3)
    assert (got == (1, 2, 3)).all()


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 5), (5, 0)])
def test_pictures_of_no_pixels_are_refused(width, height):
    with pytest.raises(ImageError):
        decode_image(png(width, height))


ZEROS = zlib.compress(bytes(100_000_000))
INFLATING = {
    "text": png_chunk(b"zTXt", b"a\x00\x00" + ZEROS),
    "colour profile": png_chunk(b"iCCP", b"a\x00\x00" + ZEROS),
    "many texts": png_chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(1_000_000))) * 100,
}


@pytest.mark.parametrize("name", INFLATING)
def test_what_inflates_beside_the_picture_is_refused(name):
    with pytest.raises(ImageError):
        decode_image(png(2, 1, rows=bytes(7), before=INFLATING[name]))


def test_a_picture_with_more_rows_than_it_says_is_not_inflated_further():
    header = png(2, 1, rows=b"")
    bomb = header.replace(png_chunk(b"IDAT", zlib.compress(b"")), png_chunk(b"IDAT", ZEROS))
    assert decoded(bomb).tolist() == [[[0, 0, 0], [0, 0, 0]]]


def picture_or_refusal(file):
    """The picture in the bytes, or None if they are refused in the one way there is."""
    try:
        return decoded(file)
    except ImageError:
        return None


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_anywhere_is_refused_or_whole(name):
    """What may be missing is only what comes after the last pixel."""
    file = FILES[name]
    whole = decoded(file)
    ends = len(file) - 32
    for length in [*range(64), *range(64, ends, 13), *range(ends, len(file))]:
        got = picture_or_refusal(file[:length])
        assert got is None or (length >= ends and (got == whole).all())


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", *(file[:12] for file in FILES.values())]),
    st.binary(max_size=2_000),
)
@example(b"", b"")
def test_random_bytes_are_refused_in_one_way(beginning, rest):
    picture_or_refusal(beginning + rest)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 5_000), st.binary(max_size=6)), min_size=1, max_size=4),
)
def test_damaged_files_are_read_or_refused_in_one_way(name, damage):
    file = bytearray(FILES[name])
    for place, bytes_there in damage:
        at = place % len(file)
        file[at : at + len(bytes_there)] = bytes_there
    picture_or_refusal(bytes(file))
