"""Write demo.svg beside this file, from a real run of the demonstration: ``python docs/pictures/make_demo_picture.py``.

The picture is taken while an alert fires, or at the end of the run where none does.
"""  # noqa: INP001 - a script, not a package

from __future__ import annotations

import copy
import io
import re
from contextlib import suppress
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.terminal_theme import TerminalTheme

from workers.demo.running import play
from workers.demo.scene import Scene
from workers.demo.view import render

WIDTH, HEIGHT = 100, 30
SECONDS, NOT_BEFORE_S = 60.0, 29.0
PICTURE = Path(__file__).with_name("demo.svg")
DARK = TerminalTheme((17, 22, 29), (214, 222, 230), [(17, 22, 29)] * 8, [(214, 222, 230)] * 8)
# A picture that fetches a font tells others who looks at it: the reader's own font must do.
LOCAL = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "font-family: Fira Code, monospace", "font-family: ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
)


class Taken(Exception):
    """The picture is taken."""


def main() -> None:
    """Run the demonstration until the moment, and draw it."""
    scene, taken = Scene(), Scene()

    def show(now: Scene) -> None:
        nonlocal taken
        taken = copy.deepcopy(now)
        if now.elapsed_s >= NOT_BEFORE_S and any(sensor.firing for sensor in now.sensors):
            raise Taken

    with suppress(Taken):
        play(scene, show, lambda _: None, every_s=0.25, seconds=SECONDS, config_out=None)
    # The port of that run means nothing to a reader.
    taken.where = re.sub(r"-p \d+", "-p 6379", taken.where)
    console = Console(width=WIDTH, height=HEIGHT, record=True, file=io.StringIO(), color_system="truecolor")
    console.print(render(taken, WIDTH, HEIGHT))
    picture = console.export_svg(title="tidecast demo", theme=DARK, code_format=LOCAL, unique_id="tidecast")
    PICTURE.write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
