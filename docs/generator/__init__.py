"""Writes docs/reference from what the program itself says: `make reference`."""
