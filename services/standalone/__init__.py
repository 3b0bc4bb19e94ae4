"""The three services in one process: the embedded default, with no server to install.

The same services, servers and calls as in a deployment of three, on loopback.
"""

from compositor.planes import fit_cover
from frame_gen.backends.external import ExternalImages, ImageRequest
from rpckit.metrics import metrics_endpoint
from rpckit.server import ServerStartError
from rpckit.settings import SettingsError
from rpckit.telemetry import configure_logging
from rpckit.trace_export import exported_traces
from standalone.stack import Standalone

__all__ = [
    "ExternalImages",
    "ImageRequest",
    "ServerStartError",
    "SettingsError",
    "Standalone",
    "configure_logging",
    "exported_traces",
    "fit_cover",
    "metrics_endpoint",
]
