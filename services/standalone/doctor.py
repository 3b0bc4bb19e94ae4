"""Checks of the decoders of this machine, for the command line."""

from compositor.doctor.examination import (
    CheckedClip,
    Examination,
    ExaminationError,
    Outcome,
    Verdict,
)

__all__ = ["CheckedClip", "Examination", "ExaminationError", "Outcome", "Verdict"]
