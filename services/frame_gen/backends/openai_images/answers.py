"""What OpenAI's refusals and broken answers mean."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import openai

from frame_gen.backends.openai_images.failures import (
    Cause,
    PurchaseError,
    no_image,
    retired,
    timed_out,
)
from frame_gen.backends.openai_images.models import RETIRED

_BY_CODE = {
    "moderation_blocked": Cause.REJECTED,
    "content_policy_violation": Cause.REJECTED,
    "insufficient_quota": Cause.NO_CREDIT,
    "billing_hard_limit_reached": Cause.NO_CREDIT,
    "billing_not_active": Cause.NO_CREDIT,
    "model_not_found": Cause.MODEL_GONE,
}
_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
# Refusals that OpenAI makes before it makes an image. Any other 5xx, such as 502, 504 and 520 to
# 527, is the word of something on the way, which does not know how the request ended.
_BY_STATUS = {
    401: Cause.BAD_KEY,
    403: Cause.NOT_ALLOWED,
    404: Cause.MODEL_GONE,
    408: Cause.BUSY,
    409: Cause.BUSY,
    429: Cause.RATE_LIMITED,
    500: Cause.BUSY,
    503: Cause.BUSY,
}
_WORD = re.compile(r"[a-z_]{1,64}")
"""What a code of an error may look like to be repeated: no key fits it."""


def failure(error: Exception, model: str) -> PurchaseError:
    """What went wrong, from an exception of the client.

    Nothing of what OpenAI or a proxy wrote goes into the message but its
    error code: OpenAI repeats parts of the key, others may repeat all of it.
    """
    cause = _cause(error)
    if cause is Cause.TIMED_OUT:
        return timed_out()
    if cause is Cause.NO_IMAGE:
        return no_image("it holds no image")
    if cause is Cause.MODEL_GONE and model in RETIRED:
        return retired(model)
    why = _WHY[cause].format(model=repr(model), what=_named(error))
    return PurchaseError(cause, why, retry_after=_retry_after(error))


def _named(error: Exception) -> str:
    """The status and code of a refusal."""
    parts = []
    if isinstance(error, openai.APIStatusError):
        parts.append(f"status {error.status_code}")
    if isinstance(error, openai.APIError) and error.code and _WORD.fullmatch(error.code):
        parts.append(error.code)
    return ", ".join(parts) or "no status"


def _cause(error: Exception) -> Cause:
    if isinstance(error, openai.APIConnectionError):
        return _connection_cause(error)
    if not isinstance(error, openai.APIError):
        return Cause.NO_IMAGE
    by_code = _BY_CODE.get(error.code or "")
    if by_code:
        return by_code
    if error.type == "image_generation_user_error":
        return Cause.REJECTED
    if isinstance(error, openai.APIStatusError):
        other = Cause.BAD_REQUEST if error.status_code < 500 else Cause.BROKEN_OFF
        return _BY_STATUS.get(error.status_code, other)
    return Cause.BROKEN_OFF  # an error in the middle of a stream


def _connection_cause(error: openai.APIConnectionError) -> Cause:
    if isinstance(error.__cause__, _NOT_SENT):
        return Cause.UNREACHABLE
    return Cause.TIMED_OUT if isinstance(error, openai.APITimeoutError) else Cause.BROKEN_OFF


def _retry_after(error: Exception) -> float | None:
    """Seconds after which OpenAI wants to be asked again; None if it does not say."""
    if not isinstance(error, openai.APIStatusError):
        return None
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            seconds = _until(text)
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    return None


def _until(date: str) -> float:
    """Seconds until an HTTP date; NaN if it is none."""
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return math.nan


_WHY = {
    Cause.BAD_KEY: "OpenAI does not take the API key ({what}). "
    "Set OPENAI_API_KEY, or the file in GATOR_OPENAI_API_KEY_FILE, to a key that is in force",
    Cause.NOT_ALLOWED: "OpenAI does not let this key use {model} ({what}). "
    "Verify the organization, allow the project to use the model, or use another region or key",
    Cause.MODEL_GONE: "OpenAI has no model {model} for this key ({what}): it is retired, or the "
    "project has no access to it. Set GATOR_OPENAI_MODEL to one it offers, such as gpt-image-2",
    Cause.NO_CREDIT: "the OpenAI account has no credit left ({what}). "
    "Add credit or raise its limit",
    Cause.REJECTED: "OpenAI's moderation rejected this scene ({what}). Change its prompt",
    Cause.BAD_REQUEST: "OpenAI does not take the request ({what}). "
    "Look at GATOR_OPENAI_MODEL, GATOR_OPENAI_SIZE and GATOR_OPENAI_QUALITY",
    Cause.RATE_LIMITED: "OpenAI takes no more requests at the moment ({what}). "
    "Try again later, or lower GATOR_OPENAI_MAX_CONCURRENT",
    Cause.BUSY: "OpenAI cannot make images at the moment ({what}). Try again later",
    Cause.UNREACHABLE: "OpenAI cannot be reached. Look at the network and at OPENAI_BASE_URL",
    Cause.BROKEN_OFF: "the answer of OpenAI did not come through ({what}). "
    "It may have been charged and is not asked for again in this render. Start a new one",
}
