"""Signed requests: HMAC-SHA256 over the time and the body, so that neither can be changed nor the whole be sent again later."""

from __future__ import annotations

import hashlib
import hmac
import re

from stream.errors import InputError

HEADER = "Tidecast-Signature"
TOLERANCE_S = 300
_WRITTEN = re.compile(r"t=(\d{1,15}),v1=([0-9a-f]{64})", re.ASCII)


def sign(key: str, body: bytes, at_s: int) -> str:
    """The value of the header: ``t=SECONDS,v1=HEX``, where HEX is the HMAC-SHA256 of ``SECONDS.BODY`` under the key."""
    digest = hmac.new(key.encode(), b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def verify(key: str, body: bytes, header: str, now_s: float, *, tolerance_s: float = TOLERANCE_S) -> None:
    """Return if the header was made with ``key`` for ``body``, at most ``tolerance_s`` away from ``now_s``; InputError if not."""
    written = _WRITTEN.fullmatch(header)
    if written is None:
        raise InputError(f"{HEADER}: not of the form t=SECONDS,v1=HEX")
    at_s = int(written[1])
    if not hmac.compare_digest(sign(key, body, at_s), header):
        raise InputError(f"{HEADER}: made with another key or for another body")
    if abs(now_s - at_s) > tolerance_s:
        raise InputError(f"{HEADER}: more than {tolerance_s:g} s old, or from the future")
