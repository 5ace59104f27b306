"""A Prometheus Alertmanager for the tests: from PATH, where Debian's package prometheus-alertmanager or upstream's archive puts it."""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, Self

from stream.embedded import GuardedProcess, free_port
from tests.services.service import Unavailable

_CONFIG = """\
route: {receiver: nobody, group_wait: 1s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: nobody}]
"""


class Alertmanager:
    """An Alertmanager of one's own, which tells nobody."""

    def __init__(self) -> None:
        binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        if binary is None:
            raise Unavailable("there is no Alertmanager on PATH: install the package prometheus-alertmanager")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="tidecast-test-alertmanager-"))
        config = self.folder / "alertmanager.yml"
        config.write_text(_CONFIG, encoding="utf-8")
        self._command = [
            binary,
            f"--config.file={config}",
            f"--storage.path={self.folder}/store",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]
        self._process: GuardedProcess | None = None

    def alerts(self) -> list[dict[str, Any]]:
        """What fires there: those that have ended are not listed."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=5) as answer:  # noqa: S310 - our own server
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def __enter__(self) -> Self:
        self._process = GuardedProcess(self._command, self.folder / "server.log")
        self._process.wait_until(self._ready, 30.0, "Alertmanager")
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None:
            self._process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:  # noqa: S310 - our own server
                return bool(answer.status == 200)
        except OSError:
            return False
