"""Text that has broken programs before."""

from __future__ import annotations

HOSTILE = [
    "two\nlines\r\nor three",
    "quotes \" and ' and \\ and `",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2J",
    "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;",
    "{{ .Labels.series }} ${jndi:ldap://x} %s %n {0}",
    "\u202egnirts\u2066 \u200b\ufeff\u0085\u2028\u2029",
    "\U0001f600 ÅŸ 温度 ё مضخة",
    "nul \x00 del \x7f c1 \x9b31m",
    "\ufdd0 and \uffff are no characters",
    " leading, trailing ",
    "a=b,c:d|e;f/../../g",
    "*?[!a-z]",
    "-" * 256,
]
"""Each may be a series id: 1 to 256 characters."""
LONG = "x" * 10_000 + "\x1b[0m"
"""May be a title."""
