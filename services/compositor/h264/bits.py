"""Bits of a bitstream, most significant first: ITU-T H.264 clause 7.2 and 9.1.

Bits being written are text of "0" and "1". Python joins, repeats and looks up
text fast, and turns a megabit of it into bytes in a millisecond.
"""

from __future__ import annotations

Bits = str
"""Bits in order, as "0" and "1"."""


class BitstreamError(ValueError):
    """The bytes are not the syntax that they should be."""


def unsigned(value: int) -> Bits:
    """Descriptor ue(v), the Exp-Golomb code of `value` >= 0: clause 9.1."""
    code = format(value + 1, "b")
    return "0" * (len(code) - 1) + code


def signed(value: int) -> Bits:
    """Descriptor se(v), the signed Exp-Golomb code: clause 9.1.1."""
    return unsigned(2 * value - 1 if value > 0 else -2 * value)


def truncated(value: int, maximum: int) -> Bits:
    """te(v) of 0 <= `value` <= `maximum`, `maximum` >= 1: clause 9.1."""
    if maximum > 1:
        return unsigned(value)
    return "0" if value else "1"


class BitWriter:
    """Writes syntax elements; the methods are named after the standard's descriptors."""

    def __init__(self) -> None:
        self._parts: list[Bits] = []
        self._length = 0

    def __len__(self) -> int:
        """Bits written so far."""
        return self._length

    def append(self, bits: Bits) -> None:
        """Writes `bits` as they are."""
        self._parts.append(bits)
        self._length += len(bits)

    def u(self, bits: int, value: int) -> None:
        """Descriptor u(n): `value` in `bits` bits. ValueError if it has no room there."""
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{value} does not fit in {bits} bits")
        if bits:
            self.append(format(value, f"0{bits}b"))

    def flag(self, value: bool) -> None:
        """Descriptor u(1)."""
        self.append("1" if value else "0")

    def ue(self, value: int) -> None:
        """Descriptor ue(v)."""
        self.append(unsigned(value))

    def se(self, value: int) -> None:
        """Descriptor se(v)."""
        self.append(signed(value))

    def align(self, bit: Bits) -> None:
        """Repeats `bit` until a byte is full, as cabac_alignment_one_bit does: clause 7.3.4."""
        self.append(bit * (-self._length % 8))

    def bytes(self) -> bytes:
        """What was written, which is whole bytes. ValueError if it is not."""
        if self._length % 8:
            raise ValueError(f"{self._length} bits are no whole bytes")
        return int("".join(self._parts) or "0", 2).to_bytes(self._length // 8, "big")

    def rbsp(self) -> bytes:
        """What was written with rbsp_trailing_bits(): clause 7.3.2.11."""
        self.append("1")
        self.align("0")
        return self.bytes()


class BitReader:
    """Reads syntax elements; raises BitstreamError at the end of the bytes and nothing else."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._end = 8 * len(data)
        self.position = 0
        """Bits read so far."""

    def u(self, bits: int) -> int:
        """Descriptor u(n)."""
        end = self.position + bits
        if end > self._end:
            raise BitstreamError(f"{bits} bits were to be read where {self._end} end")
        first, last = self.position >> 3, (end + 7) >> 3
        value = int.from_bytes(self._data[first:last], "big") >> (8 * last - end)
        self.position = end
        return value & ((1 << bits) - 1)

    def flag(self) -> bool:
        """Descriptor u(1)."""
        return self.u(1) == 1

    def ue(self) -> int:
        """Descriptor ue(v), at most 2^32 - 2 as clause 7.2 allows."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 31:
                raise BitstreamError("an Exp-Golomb code has more than 31 leading zeros")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Descriptor se(v)."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)

    def byte_aligned(self) -> bool:
        """Whether byte_aligned() holds: clause 7.2."""
        return self.position % 8 == 0

    def rest(self) -> bytes:
        """The bytes from here on, from a byte's first bit."""
        if not self.byte_aligned():
            raise BitstreamError("not at the first bit of a byte")
        return self._data[self.position >> 3 :]
