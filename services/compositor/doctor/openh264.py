"""OpenH264's decoder by its C interface: an H.264 decoder that shares no code with FFmpeg's.

It is found as a library of the system (Debian: libopenh264-7) or by the path in
GATOR_OPENH264_LIBRARY. From wels/codec_api.h, version 2.1 and later.

Its decoding of pictures is checked, not its output order: it orders pictures by
a rule of thumb that knows B slices only. So they are put in order by the time
of the packet that they came in, as players do.

Of what it is known to do wrong: it has max_num_ref_frames + 2 picture buffers and
keeps two of them filled with pictures that it has not given out yet, so a stream
that holds all its references runs out of them ("PrefetchPic ERROR"). Up to 2.3 it
overwrites a picture that still waits when an IDR picture comes; so each group of
pictures gets a decoder of its own here. It shows B pictures with blocks of 8x8,
as x264 writes them, wrongly: the reference engine's files differ.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from compositor.encoder.decoding import AccessUnit, DecodingError, access_units
from compositor.planes import Pixels, Planes

LIBRARY_VARIABLE = "GATOR_OPENH264_LIBRARY"
OLDEST = (2, 1)
"""Version from which on the interface is the one used here."""
_SONAMES = ("libopenh264.so.8", "libopenh264.so.7", "libopenh264.so.6")

# DECODER_OPTION of wels/codec_app_def.h.
_END_OF_STREAM = 1
_TRACE_LEVEL = 9
_TRACE_CALLBACK = 10
_FRAMES_REMAINING = 18
_LOG_WARNING = 2
_ERROR_CONCEALMENT_OFF = 0
_ALL_LAYERS = 255


class _SystemMemoryBuffer(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("format", ctypes.c_int),
        ("stride", ctypes.c_int * 2),
    )


class _BufferInfo(ctypes.Structure):
    _fields_ = (
        ("status", ctypes.c_int),
        ("time_stamp_in", ctypes.c_ulonglong),
        ("time_stamp_out", ctypes.c_ulonglong),
        ("buffer", _SystemMemoryBuffer),
        ("planes", ctypes.c_void_p * 3),
    )


class _VideoProperty(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint), ("bitstream_type", ctypes.c_int))


class _DecodingParameters(ctypes.Structure):
    _fields_ = (
        ("reconstruction_file", ctypes.c_char_p),
        ("cpu_load", ctypes.c_uint),
        ("target_layer", ctypes.c_ubyte),
        ("error_concealment", ctypes.c_int),
        ("parse_only", ctypes.c_bool),
        ("video_property", _VideoProperty),
    )


class _Version(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint) for name in ("major", "minor", "revision", "reserved"))


_This = ctypes.c_void_p
_Info = ctypes.POINTER(_BufferInfo)
_Decode = ctypes.CFUNCTYPE(
    ctypes.c_int, _This, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, _Info
)
_Option = ctypes.CFUNCTYPE(ctypes.c_long, _This, ctypes.c_int, ctypes.c_void_p)
_Trace = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)


class _Methods(ctypes.Structure):
    """ISVCDecoderVtbl."""

    _fields_ = (
        (
            "initialize",
            ctypes.CFUNCTYPE(ctypes.c_long, _This, ctypes.POINTER(_DecodingParameters)),
        ),
        ("uninitialize", ctypes.CFUNCTYPE(ctypes.c_long, _This)),
        ("decode_frame", ctypes.c_void_p),
        ("decode_frame_no_delay", _Decode),
        ("decode_frame_2", ctypes.c_void_p),
        ("flush_frame", ctypes.CFUNCTYPE(ctypes.c_int, _This, ctypes.c_void_p, _Info)),
        ("decode_parser", ctypes.c_void_p),
        ("decode_frame_ex", ctypes.c_void_p),
        ("set_option", _Option),
        ("get_option", _Option),
    )


class OpenH264Decoder:
    """Decodes MP4 files with the OpenH264 of this machine."""

    @property
    def name(self) -> str:
        """What people call it, with its version if it is there."""
        try:
            return "OpenH264 " + ".".join(map(str, _version(_library())))
        except DecodingError:
            return "OpenH264"

    def pictures(self, path: Path) -> Iterator[Planes]:
        """The pictures of a file in output order, as many as there are packets.

        Raises:
            DecodingError: there is no OpenH264, or it fails, or gives fewer pictures.
        """
        waiting: dict[int, Planes] = {}
        following = 0
        for group in _groups(access_units(path)):
            with _session(_library()) as session:
                for number, picture in session.decoded(group):
                    waiting[number] = picture
                    while following in waiting:
                        yield waiting.pop(following)
                        following += 1
        if waiting:
            raise DecodingError(f"it gave no picture {following}")


def _groups(units: Iterator[AccessUnit]) -> Iterator[Iterator[AccessUnit]]:
    """Closed groups of pictures, each to be read before the next is asked for."""
    begun = 0

    def number(unit: AccessUnit) -> int:
        nonlocal begun
        begun += unit.begins
        return begun

    return (group for _, group in groupby(units, number))


class _Session:
    """One decoder."""

    def __init__(self, this: ctypes.c_void_p, methods: Any) -> None:
        self._this = this
        self._methods = methods
        self._said: list[str] = []
        self._trace = _Trace(lambda _context, _level, text: self._said.append(text.decode()))
        self._set(_TRACE_LEVEL, ctypes.c_int(_LOG_WARNING))
        self._set(_TRACE_CALLBACK, ctypes.cast(self._trace, ctypes.c_void_p))
        parameters = _DecodingParameters(
            target_layer=_ALL_LAYERS,
            error_concealment=_ERROR_CONCEALMENT_OFF,
            video_property=_VideoProperty(size=ctypes.sizeof(_VideoProperty)),
        )
        self._check(methods.initialize(this, ctypes.byref(parameters)))

    def decoded(self, units: Iterator[AccessUnit]) -> Iterator[tuple[int, Planes]]:
        """The pictures with their numbers, as the decoder gives them out."""
        for unit in units:
            info = _BufferInfo(time_stamp_in=unit.output)
            self._check(
                self._methods.decode_frame_no_delay(
                    self._this, unit.data, len(unit.data), _pointers(), ctypes.byref(info)
                )
            )
            yield from _taken(info)
        self._set(_END_OF_STREAM, ctypes.c_int(1))
        remaining = ctypes.c_int()
        self._methods.get_option(self._this, _FRAMES_REMAINING, ctypes.byref(remaining))
        for _ in range(remaining.value):
            info = _BufferInfo()
            self._check(self._methods.flush_frame(self._this, _pointers(), ctypes.byref(info)))
            yield from _taken(info)

    def _set(self, option: int, value: Any) -> None:
        self._methods.set_option(self._this, option, ctypes.byref(value))

    def _check(self, state: int) -> None:
        if state or self._said:
            said = "; ".join(text.partition(", ")[2] or text for text in self._said)
            raise DecodingError(said.strip() or f"decoding state {state:#x}")


def _pointers() -> Any:
    return (ctypes.c_void_p * 3)()


def _taken(info: _BufferInfo) -> Iterator[tuple[int, Planes]]:
    if info.status == 1:
        yield info.time_stamp_out, _copied(info)


def _copied(info: _BufferInfo) -> Planes:
    width, height = info.buffer.width, info.buffer.height
    picture = Planes.empty(width, height)
    luma, chroma = info.buffer.stride
    for address, stride, into in zip(
        info.planes, (luma, chroma, chroma), (picture.y, picture.u, picture.v), strict=True
    ):
        into[...] = _view(address, stride, *into.shape)
    return picture


def _view(address: int, stride: int, rows: int, columns: int) -> Pixels:
    size = stride * (rows - 1) + columns
    memory = (ctypes.c_uint8 * size).from_address(address)
    return as_strided(np.ctypeslib.as_array(memory), (rows, columns), (stride, 1))


@contextmanager
def _session(library: ctypes.CDLL) -> Iterator[_Session]:
    decoder = ctypes.POINTER(ctypes.POINTER(_Methods))()
    if library.WelsCreateDecoder(ctypes.byref(decoder)):
        raise DecodingError("it could not be started")
    this = ctypes.cast(decoder, ctypes.c_void_p)
    methods = decoder.contents.contents
    try:
        yield _Session(this, methods)
    finally:
        methods.uninitialize(this)
        library.WelsDestroyDecoder(this)


@cache
def _library() -> ctypes.CDLL:
    """The library. Raises DecodingError where there is none, or too old a one."""
    asked = os.environ.get(LIBRARY_VARIABLE)
    names = [asked] if asked else [find_library("openh264"), *_SONAMES]
    for name in filter(None, names):
        try:
            library = ctypes.CDLL(name)
            library.WelsCreateDecoder.restype = ctypes.c_long
            library.WelsDestroyDecoder.restype = None
        except (OSError, AttributeError):
            continue
        if (version := _version(library)) < OLDEST:
            raise DecodingError(f"it is version {'.'.join(map(str, version))}, 2.1 is needed")
        return library
    raise DecodingError(f"there is no {asked or 'library openh264'}")


def _version(library: ctypes.CDLL) -> tuple[int, int, int]:
    version = _Version()
    library.WelsGetCodecVersionEx(ctypes.byref(version))
    return version.major, version.minor, version.revision
