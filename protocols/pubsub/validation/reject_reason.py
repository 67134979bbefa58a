"""Why a message was not accepted."""

from __future__ import annotations

from enum import StrEnum


class RejectReason(StrEnum):
    """Why a message was rejected or ignored; the values are the names of counters."""

    MISSING_SIGNATURE = "missing_signature"
    INVALID_SIGNATURE = "invalid_signature"
    UNEXPECTED_SIGNATURE = "unexpected_signature"
    UNEXPECTED_AUTHOR = "unexpected_author"
    UNEXPECTED_SEQNO = "unexpected_seqno"
    MALFORMED_AUTHOR = "malformed_author"
    """No author, or one that is no peer id."""
    MALFORMED_KEY = "malformed_key"
    """No public key where the peer id does not contain it, or one that is malformed or outside the limits."""
    FORGED_AUTHOR = "forged_author"
    """The key is not the author's, whose name the message carries."""
    MALFORMED_SEQNO = "malformed_seqno"
    SELF_ORIGIN = "self_origin"
    """A peer passed on what we are said to have written."""
    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"
    """The codec of the topic can not read it."""
    VALIDATION_FAILED = "validation_failed"
    """A validator rejected it."""

    VALIDATION_IGNORED = "validation_ignored"
    """A validator ignored it; from here on nobody is to blame."""
    REPEATED = "repeated"
    """It came before, longer ago than ids are remembered: its author's number is known."""
    VALIDATION_THROTTLED = "validation_throttled"
    """There were too many messages under validation."""
    VALIDATION_TIMED_OUT = "validation_timed_out"
    """A validator took too long."""
