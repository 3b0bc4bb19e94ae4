"""The compositor: stills in, an H.264 MP4 out, streamed while it is encoded.

A frame is fitted to the preset and converted to YUV 4:2:0 once (`planes`).
The timeline gives each scene its pictures by exact arithmetic (`timeline`), the
six transitions are made on planes (`transitions`), and an engine walks the
timeline and codes the pictures: `engine` is its interface, `compressed` the one
that codes each still once and writes the rest as H.264 syntax (`h264`), `reference`
the one that codes every picture. Both code through `encoder`; `engines` says which
makes the videos of a codec. `service` runs an engine in a thread beside the stream
of a call, `handoff` is the bounded way between the two. Only `servicer` and
`convert` know protobuf, only `encoder` knows av.
"""
