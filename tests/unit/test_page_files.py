"""The page's files are shipped, complete, and load nothing from elsewhere."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STATIC = files("workers.dashboard") / "static"
OURS = [file.name for file in STATIC.iterdir() if file.name.endswith((".js", ".html", ".css"))]


def test_what_the_page_names_is_there() -> None:
    named = set(re.findall(r'"/static/([^"]+)"', (STATIC / "index.html").read_text(encoding="utf-8")))
    assert {"main.js", "style.css", "vendor/uplot.js"} <= named
    for module in (name for name in OURS if name.endswith(".js")):
        named |= set(re.findall(r'from "\./([^"]+)"', (STATIC / module).read_text(encoding="utf-8")))
    for name in named:
        assert (STATIC / name).is_file(), name
    assert "MIT" in (STATIC / "vendor" / "uplot-license.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OURS)
def test_nothing_comes_from_elsewhere_and_no_markup_is_made_of_text(name: str) -> None:
    text = (STATIC / name).read_text(encoding="utf-8")
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    # Foreign text may only go in as text: the one piece of markup is the sign-in form's, which holds none.
    made = re.findall(r"innerHTML[^`]*`([^`]*)`", text)
    assert len(made) == len(re.findall("innerHTML|insertAdjacentHTML|outerHTML|document.write", text))
    assert all("${" not in markup for markup in made)
