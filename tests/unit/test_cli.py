from __future__ import annotations

import sys

import pytest

from stream.errors import ConfigurationError, InputError, ServiceError, TidecastError
from stream.records import Reason
from stream.refusals import Unusable
from workers import cli


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("c"), 2),
        (InputError("i"), 3),
        (Unusable(Reason.NOT_FINITE, "a kind of input error"), 3),
        (ServiceError("s"), 4),
        (TidecastError("t"), 1),
    ],
)
def test_the_exit_code_tells_whose_fault_it_is(
    error: TidecastError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    assert capsys.readouterr().err.startswith("tidecast: ")


def test_help_imports_no_torch() -> None:
    import subprocess

    script = "import sys; from workers.cli import cli; cli.main(['--help'], standalone_mode=False); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip().endswith("False")
