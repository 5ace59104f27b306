"""The proxy that the campaign puts before its servers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.services.proxy import Wire


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Before a server that sends back whatever it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo(connection: socket.socket) -> None:
            with connection:
                while True:
                    try:
                        if not (got := connection.recv(65_536)):
                            return
                        connection.sendall(got)
                    except OSError:
                        return

        def serve() -> None:
            while True:
                try:
                    threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        with Wire(server.getsockname()[1]) as between:
            yield between
        server.shutdown(socket.SHUT_RDWR)


def dial(wire: Wire) -> socket.socket:
    return socket.create_connection(("127.0.0.1", wire.port), timeout=5)


def test_what_is_sent_passes_unchanged(wire: Wire) -> None:
    with dial(wire) as end:
        sent = bytes(range(256)) * 500
        threading.Thread(target=end.sendall, args=(sent,)).start()
        got = b""
        while len(got) < len(sent):
            got += end.recv(65_536)
    assert got == sent


def test_a_cut_resets_what_is_open_and_what_comes_until_it_is_healed(wire: Wire) -> None:
    with dial(wire) as end:
        end.sendall(b"1")
        assert end.recv(1) == b"1"
        wire.cut()
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    with pytest.raises(ConnectionResetError), dial(wire) as late:
        late.recv(1)
    wire.heal()
    with dial(wire) as end:
        end.sendall(b"2")
        assert end.recv(1) == b"2"


@pytest.mark.parametrize("reset", [False, True])
def test_silence_holds_everything_back_and_delivers_it_late_or_never(wire: Wire, reset: bool) -> None:
    with dial(wire) as end:
        wire.silence()
        end.sendall(b"1")
        end.settimeout(0.2)
        with pytest.raises(TimeoutError):
            end.recv(1)
        end.settimeout(5)
        wire.heal(reset=reset)
        if reset:
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        else:
            assert end.recv(1) == b"1"


def test_delay_and_throttle_take_their_time(wire: Wire) -> None:
    for slow, how_much in ((wire.delay, 0.1), (wire.throttle, 10.0)):
        slow(how_much)
        with dial(wire) as end:
            began = time.monotonic()
            end.sendall(b"1")
            assert end.recv(1) == b"1"
            assert time.monotonic() - began >= 0.2
