"""The gateway: validates a render, has its scenes' frames made, and has them composed.

    servicer -> convert -> validation -> service -> pipeline -> downstream

The pipeline asks the frame generation service for one frame a scene, keeps what
is ahead on disk, and hands the frames in order to the compositor, whose video
bytes go to the client as they come.
"""
