"""A slow reader of synthesized P slices, step by step as ITU-T H.264 writes it.

It shares nothing with what it checks but BitReader: macroblocks are read one
after the other, and motion lies in a grid of 4x4 blocks where neighbours are
looked up by their luma location.
"""

from compositor.h264.bits import BitReader

TYPES = {0: "P_L0_16x16", 1: "P_L0_L0_16x8", 2: "P_L0_L0_8x16", 3: "P_8x8"}
PARTITIONS = {
    # x, y, width, height in luma samples: clause 6.4.2.1 and Table 7-13.
    "P_Skip": [(0, 0, 16, 16)],
    "P_L0_16x16": [(0, 0, 16, 16)],
    "P_L0_L0_16x8": [(0, 0, 16, 8), (0, 8, 16, 8)],
    "P_L0_L0_8x16": [(0, 0, 8, 16), (8, 0, 8, 16)],
    "P_8x8": [(0, 0, 8, 8), (8, 0, 8, 8), (0, 8, 8, 8), (8, 8, 8, 8)],
}


def padded(bits):
    """Bytes of the bits with rbsp_slice_trailing_bits()."""
    text = bits + "1"
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


class ReadSlice:
    """A P slice with two active references, read from `bits`, its slice_data()."""

    def __init__(self, bits, mb_columns, mb_rows):
        self.mb_columns, self.mb_rows = mb_columns, mb_rows
        self.types = []
        """What each macroblock is, in raster order."""
        self.motion = {}
        """(x, y) of a 4x4 block in units of 4 samples -> (refIdxL0, (mv x, mv y))."""
        self.wasted = 0
        """Macroblocks that P_Skip would have shown as well."""
        self._reader = BitReader(padded(bits))
        self._end = len(bits)
        self._slice_data()

    def at(self, x, y):
        """Motion of the block with that luma sample."""
        return self.motion[x // 4, y // 4]

    def blocks(self):
        """Reference and vector of every 8x8 block: two lists of rows."""
        grid = [
            [self.at(x, y) for x in range(0, 16 * self.mb_columns, 8)]
            for y in range(0, 16 * self.mb_rows, 8)
        ]
        return [[m[0] for m in row] for row in grid], [[m[1] for m in row] for row in grid]

    def _more_rbsp_data(self):
        return self._reader.position < self._end

    def _slice_data(self):  # 7.3.4
        address, more = 0, True
        while more:
            skip_run = self._reader.ue()
            for _ in range(skip_run):
                self._skip(address)
                address += 1
            if skip_run:
                more = self._more_rbsp_data()
            if more:
                self._macroblock_layer(address)
                address += 1
                more = self._more_rbsp_data()
        assert self._reader.position == self._end
        assert address == self.mb_columns * self.mb_rows

    def _skip(self, address):
        self.types.append("P_Skip")
        self._fill(address, (0, 0, 16, 16), (0, self._skip_vector(address)))

    def _macroblock_layer(self, address):  # 7.3.5
        assert address < self.mb_columns * self.mb_rows
        read = self._reader
        name = TYPES[read.ue()]
        parts = PARTITIONS[name]
        self.types.append(name)
        if name == "P_8x8":
            assert [read.ue() for _ in range(4)] == [0, 0, 0, 0]  # P_L0_8x8
        references = [1 - read.u(1) for _ in parts]  # te(v) with a maximum of 1
        skip_vector = self._skip_vector(address)
        for index, (part, reference) in enumerate(zip(parts, references, strict=True)):
            difference = read.se(), read.se()
            prediction = self._prediction(address, name, index, reference)
            vector = tuple(p + d for p, d in zip(prediction, difference, strict=True))
            assert -8192 <= vector[0] <= 8191
            self._fill(address, part, (reference, vector))
        assert read.ue() == 0  # coded_block_pattern 0 of an Inter macroblock
        column, row = address % self.mb_columns, address // self.mb_columns
        shown = {self.at(16 * column + x, 16 * row + y) for x in (0, 8) for y in (0, 8)}
        self.wasted += shown == {(0, skip_vector)}

    def _fill(self, address, part, motion):
        x, y, width, height = part
        left = 16 * (address % self.mb_columns) + x
        top = 16 * (address // self.mb_columns) + y
        for dy in range(0, height, 4):
            for dx in range(0, width, 4):
                self.motion[(left + dx) // 4, (top + dy) // 4] = motion

    def _neighbour(self, address, x, y):
        """Motion at a location relative to the macroblock: clauses 6.4.12.1 and 8.4.1.3.2.

        None where nothing is available; what is later in decoding order is not
        in `motion` yet.
        """
        column = address % self.mb_columns
        if x < 0:
            if column == 0:
                return None
        elif x > 15 and (y >= 0 or column == self.mb_columns - 1):
            return None
        left, top = 16 * column + x, 16 * (address // self.mb_columns) + y
        return self.motion.get((left // 4, top // 4)) if top >= 0 else None

    def _neighbours(self, address, x, y, width):
        a = self._neighbour(address, x - 1, y)
        b = self._neighbour(address, x, y - 1)
        c = self._neighbour(address, x + width, y - 1)
        d = self._neighbour(address, x - 1, y - 1)
        return a, b, (d if c is None else c)

    def _skip_vector(self, address):  # 8.4.1.1
        a, b, c = self._neighbours(address, 0, 0, 16)
        if a is None or b is None or a == (0, (0, 0)) or b == (0, (0, 0)):
            return 0, 0
        return median_prediction(0, a, b, c)

    def _prediction(self, address, name, index, reference):  # 8.4.1.3
        x, y, width, _ = PARTITIONS[name][index]
        a, b, c = self._neighbours(address, x, y, width)
        directed = {
            ("P_L0_L0_16x8", 0): b,
            ("P_L0_L0_16x8", 1): a,
            ("P_L0_L0_8x16", 0): a,
            ("P_L0_L0_8x16", 1): c,
        }.get((name, index))
        if directed is not None and directed[0] == reference:
            return directed[1]
        return median_prediction(reference, a, b, c)


def median_prediction(reference, a, b, c):  # 8.4.1.3.1
    # A neighbour that is not available has refIdx -1 and a zero vector.
    none = (-1, (0, 0))
    if b is None and c is None and a is not None:
        b = c = a
    three = [none if n is None else n for n in (a, b, c)]
    of_reference = [vector for index, vector in three if index == reference]
    if len(of_reference) == 1:
        return of_reference[0]
    return tuple(sorted(vector[i] for _, vector in three)[1] for i in (0, 1))
