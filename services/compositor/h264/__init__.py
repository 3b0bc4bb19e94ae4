"""H.264 syntax: what is read of x264's pictures and written for those that need no coding."""
