"""Bits of a bitstream, most significant first: ITU-T H.264 clause 7.2 and 9.1.

Bits being written are text of "0" and "1". Python joins, repeats and looks up
text fast, and turns a megabit of it into bytes in a millisecond.
"""

from __future__ import annotations

Bits = str
"""Bits in order, as "0" and "1"."""


_MAX_UE = 2**32 - 2
_MAX_SE = 2**31 - 1


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
        """Writes `value` in `bits` bits. ValueError if it has no room there."""
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{value} does not fit in {bits} bits")
        if bits:
            self.append(format(value, f"0{bits}b"))

    def flag(self, value: bool) -> None:
        """Writes one bit."""
        self.append("1" if value else "0")

    def ue(self, value: int) -> None:
        """Writes an Exp-Golomb code. ValueError if `value` is negative."""
        if value < 0:
            raise ValueError(f"{value} has no unsigned Exp-Golomb code")
        self.append(unsigned(value))

    def se(self, value: int) -> None:
        """Writes a signed Exp-Golomb code."""
        self.append(signed(value))

    def align(self, bit: Bits) -> None:
        """Repeats `bit` until a byte is full, as cabac_alignment_one_bit does: clause 7.3.4."""
        self.append(bit * (-self._length % 8))

    def bits(self) -> Bits:
        """What was written."""
        return "".join(self._parts)

    def aligned_bytes(self) -> bytes:
        """What was written, which is whole bytes. ValueError if it is not."""
        if self._length % 8:
            raise ValueError(f"{self._length} bits are no whole bytes")
        return int("".join(self._parts) or "0", 2).to_bytes(self._length // 8, "big")

    def rbsp(self) -> bytes:
        """What was written with rbsp_trailing_bits(): clause 7.3.2.11."""
        self.append("1")
        self.align("0")
        return self.aligned_bytes()


class BitReader:
    """Reads syntax elements; the methods are named after the standard's descriptors.

    They raise BitstreamError, as at the end of the bytes, and nothing else.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._end = 8 * len(data)
        self.position = 0
        """Bits read so far."""

    def u(self, bits: int) -> int:
        """The number in the next `bits` bits."""
        end = self.position + bits
        if end > self._end:
            raise BitstreamError(f"{bits} bits were to be read where {self._end} end")
        first, last = self.position >> 3, (end + 7) >> 3
        value = int.from_bytes(self._data[first:last], "big") >> (8 * last - end)
        self.position = end
        return value & ((1 << bits) - 1)

    def flag(self) -> bool:
        """The next bit."""
        return self.u(1) == 1

    def ue(self, maximum: int = _MAX_UE) -> int:
        """The number of the next Exp-Golomb code, at most `maximum`."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 31:
                raise BitstreamError("an Exp-Golomb code has more than 31 leading zeros")
        value = (1 << zeros) - 1 + self.u(zeros)
        if value > maximum:
            raise BitstreamError(f"{value} stands where at most {maximum} is allowed")
        return value

    def se(self, lowest: int = -_MAX_SE, highest: int = _MAX_SE) -> int:
        """The number of the next signed Exp-Golomb code, from `lowest` to `highest`."""
        code = self.ue()
        value = (code + 1) // 2 if code & 1 else -(code // 2)
        if not lowest <= value <= highest:
            raise BitstreamError(f"{value} stands where {lowest} to {highest} is allowed")
        return value

    def byte_aligned(self) -> bool:
        """Whether the next bit is the first of a byte: clause 7.2."""
        return self.position % 8 == 0

    def align(self, bit: Bits) -> None:
        """Reads until byte_aligned() holds; every bit has to be `bit`."""
        rest = -self.position % 8
        if rest and self.u(rest) != int(bit * rest, 2):
            raise BitstreamError(f"the bits up to the next byte are not all {bit}")

    def more_rbsp_data(self) -> bool:
        """Whether more than rbsp_trailing_bits() follows: clause 7.2."""
        last = len(self._data.rstrip(b"\0")) - 1
        if last < 0:
            return False
        ending = self._data[last]
        stop_bit = 8 * last + 7 - ((ending & -ending).bit_length() - 1)
        return self.position < stop_bit

    def trailing_bits(self) -> None:
        """Reads rbsp_trailing_bits(), to the end of the bytes: clause 7.3.2.11."""
        if not self.flag():
            raise BitstreamError("rbsp_stop_one_bit is missing")
        self.align("0")
        if self.position != self._end:
            raise BitstreamError("bytes follow the trailing bits")

    def rest(self) -> bytes:
        """The bytes from here on, from a byte's first bit."""
        if not self.byte_aligned():
            raise BitstreamError("not at the first bit of a byte")
        return self._data[self.position >> 3 :]
