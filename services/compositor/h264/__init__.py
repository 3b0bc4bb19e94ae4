"""H.264 syntax: what is read of x264's pictures and written for those that need no coding.

From the bottom: `bits` and `nal`; `levels`, `vui` and `parameter_sets`;
`slice_header`, `references` and `order`; `motion` and `slice_data`, the
macroblocks of synthesized pictures; `coded` and `source`, what x264 wrote; `synthesized` and
`format`; and `stream`, which is what other packages write with.
"""
