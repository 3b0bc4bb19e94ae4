"""The version of the running code."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("gator-video")
except PackageNotFoundError:  # run from a source tree that is not installed
    VERSION = "0+unknown"
