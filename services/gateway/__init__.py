"""The gateway: takes renders in, has their scenes' frames made, and has them composed.

    servicer -> convert -> service -> validation, jobs -> pipeline -> downstream

A render is a row in a database before its client is answered. A worker of any gateway
takes it under a lease and runs the pipeline, which asks the frame generation service for
one frame a scene and hands the frames in order to the compositor. Frames and the video
are objects in a store that all gateways share, so any of them goes on where another
died, tells what happens, and sends the video.
"""
