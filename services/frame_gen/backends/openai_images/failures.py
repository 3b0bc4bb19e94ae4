"""Why an image did not come, what that cost, and what is done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from frame_gen.backends.base import BackendError
from frame_gen.backends.openai_images.models import RETIRED
from rpckit.errors import Reason


@dataclass(frozen=True)
class Rule:
    """What a cause means."""

    reason: Reason
    spent: bool = False
    """Whether it counts as paid: the request was sent and may have been charged."""
    again: bool = False
    """Whether asking again soon may help."""
    lasting: bool = False
    """Whether it holds for every image until somebody acts."""


class Cause(Enum):
    """Why an image did not come."""

    NO_PACKAGE = "NO_PACKAGE"
    """The service was installed without what it needs."""
    NO_KEY = "NO_KEY"
    """There is no usable key."""
    NO_LEDGER = "NO_LEDGER"
    """No place is named where purchases are written down."""
    BAD_KEY = "BAD_KEY"
    """OpenAI does not know the key."""
    NOT_ALLOWED = "NOT_ALLOWED"
    """The key's account or project may not do this."""
    MODEL_GONE = "MODEL_GONE"
    """The model is retired, or the key's project has no access to it."""
    NO_CREDIT = "NO_CREDIT"
    """The account's quota is used up."""
    REJECTED = "REJECTED"
    """OpenAI's moderation rejected the prompt or the picture."""
    BAD_REQUEST = "BAD_REQUEST"
    """OpenAI does not take the request's parameters."""
    RATE_LIMITED = "RATE_LIMITED"
    """Too many requests at the moment."""
    BUSY = "BUSY"
    """OpenAI says that it failed."""
    UNREACHABLE = "UNREACHABLE"
    """No connection: nothing was sent."""
    BROKEN_OFF = "BROKEN_OFF"
    """The connection broke, or something on the way failed, after the request was sent."""
    TIMED_OUT = "TIMED_OUT"
    """The answer did not come in time."""
    GIVEN_UP = "GIVEN_UP"
    """The caller cancelled after the request was sent."""
    NO_IMAGE = "NO_IMAGE"
    """The answer holds no image that can be used."""
    SPENT_BEFORE = "SPENT_BEFORE"
    """An earlier try may have been charged, and its image did not come."""
    LIMIT_REACHED = "LIMIT_REACHED"
    """A limit of the settings on images per render or per day."""
    LEDGER_AWAY = "LEDGER_AWAY"
    """What is bought cannot be written down, so nothing is bought."""

    @property
    def rule(self) -> Rule:
        """What it means."""
        return _RULES[self]


_RULES = {
    Cause.NO_PACKAGE: Rule(Reason.NO_MODEL_AVAILABLE),
    Cause.NO_KEY: Rule(Reason.NO_MODEL_AVAILABLE),
    Cause.NO_LEDGER: Rule(Reason.NO_MODEL_AVAILABLE),
    Cause.BAD_KEY: Rule(Reason.NO_MODEL_AVAILABLE, lasting=True),
    Cause.NOT_ALLOWED: Rule(Reason.NO_MODEL_AVAILABLE, lasting=True),
    Cause.MODEL_GONE: Rule(Reason.NO_MODEL_AVAILABLE, lasting=True),
    Cause.NO_CREDIT: Rule(Reason.NO_MODEL_AVAILABLE, lasting=True),
    # Not asked for again either: it would be rejected again, and may have been charged.
    Cause.REJECTED: Rule(Reason.CONTENT_REJECTED, spent=True),
    Cause.BAD_REQUEST: Rule(Reason.GENERATION_FAILED),
    Cause.RATE_LIMITED: Rule(Reason.OVERLOADED, again=True),
    Cause.BUSY: Rule(Reason.DOWNSTREAM_UNAVAILABLE, again=True),
    Cause.UNREACHABLE: Rule(Reason.DOWNSTREAM_UNAVAILABLE, again=True),
    Cause.BROKEN_OFF: Rule(Reason.DOWNSTREAM_UNAVAILABLE, spent=True),
    Cause.TIMED_OUT: Rule(Reason.DEADLINE_EXCEEDED, spent=True),
    Cause.GIVEN_UP: Rule(Reason.CANCELLED, spent=True),
    Cause.NO_IMAGE: Rule(Reason.GENERATION_FAILED, spent=True),
    Cause.SPENT_BEFORE: Rule(Reason.GENERATION_FAILED, spent=True),
    Cause.LIMIT_REACHED: Rule(Reason.SPEND_LIMIT_REACHED),
    Cause.LEDGER_AWAY: Rule(Reason.DOWNSTREAM_UNAVAILABLE),
}


ADVICE = "or ask for placeholders with use_ai_generation = false"
"""What a user can do in any case."""


class PurchaseError(BackendError):
    """An image did not come from OpenAI. The message holds no key, prompt or foreign text."""

    def __init__(self, cause: Cause, why: str, *, retry_after: float | None = None) -> None:
        """`why` says why, and what to do; `retry_after` is in seconds."""
        unusable = cause.rule.reason is Reason.NO_MODEL_AVAILABLE
        what = "No image generation models available" if unusable else "AI frame generation failed"
        super().__init__(cause.rule.reason, f"{what}: {why}, {ADVICE}")
        self.cause = cause
        self.why = why
        self.retry_after = retry_after


def retired(model: str) -> PurchaseError:
    """The model was shut down."""
    return PurchaseError(
        Cause.MODEL_GONE,
        f"OpenAI shut down the model {model} on {RETIRED[model]}. "
        "Set GATOR_OPENAI_MODEL to one it offers, such as gpt-image-2",
    )


def timed_out() -> PurchaseError:
    """The answer did not come in time."""
    return PurchaseError(
        Cause.TIMED_OUT,
        "OpenAI did not answer in time. It may have been charged and is not asked for again in "
        "this render. Start a new one with a longer GATOR_OPENAI_TIMEOUT",
    )


def no_image(why: str) -> PurchaseError:
    """The answer holds no image that can be used."""
    return PurchaseError(
        Cause.NO_IMAGE,
        f"OpenAI's answer cannot be used, {why}. It may have been charged and is not asked for "
        "again in this render. Start a new one",
    )
