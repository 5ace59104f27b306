"""How the input side says that one observation cannot be used, without ending the stream."""

from __future__ import annotations

from stream.errors import InputError
from stream.records import Reason

_SHOWN = 40


class Unusable(InputError):
    """One observation or record cannot be used. ``detail`` names the field and the offending value, shortened."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def shown(value: object) -> str:
    """``value`` fit for a message: at most 40 characters, and free of what cannot be encoded as UTF-8."""
    if isinstance(value, (dict, list)):
        # A container may hold the whole payload: its kind and size say enough.
        return f"{'an object' if isinstance(value, dict) else 'an array'} of {len(value)}"
    # Cut before repr: a megabyte of text need not be escaped to show its beginning.
    text = repr(value[:_SHOWN] if isinstance(value, (str, bytes)) else value)
    text = text.encode("utf-8", "backslashreplace").decode()
    cut = len(text) > _SHOWN or (isinstance(value, (str, bytes)) and len(value) > _SHOWN)
    return text[:_SHOWN] + "..." if cut else text
