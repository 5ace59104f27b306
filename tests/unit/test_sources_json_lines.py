from __future__ import annotations

import gzip
import io
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from stream.errors import InputError
from stream.records import Record
from stream.sources.json_lines import JsonLinesSource


def everything(source: JsonLinesSource, at_once: int = 2) -> list[Record]:
    records: list[Record] = []
    while not source.exhausted:
        records += source.poll(at_once, 0.1)
    source.close()
    return records


TEXT = b'{"a":1}\r\n\n{"a":2}\n  \n{"a":3}'


@pytest.mark.parametrize("packed", [False, True])
def test_each_line_is_a_record_with_its_number_as_offset(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "feed.jsonl"
    path.write_bytes(gzip.compress(TEXT) if packed else TEXT)
    source = JsonLinesSource(path)
    assert [(r.topic, r.offset, r.value) for r in everything(source)] == [
        ("feed.jsonl", 0, b'{"a":1}'),
        ("feed.jsonl", 2, b'{"a":2}'),
        ("feed.jsonl", 4, b'{"a":3}'),
    ]
    assert source.bytes_read == source.bytes_total == path.stat().st_size


def test_a_line_beyond_the_limit_is_cut_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "feed.jsonl"
    path.write_bytes(b"x" * 1_000_000 + b"\n" + b"y" * 11 + b"\nz\n")
    records = everything(JsonLinesSource(path, longest_line=10))
    assert [(record.offset, record.value) for record in records] == [(0, b"x" * 11), (1, b"y" * 11), (2, b"z")]


def test_a_broken_gzip_file_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "feed.gz"
    path.write_bytes(gzip.compress(os.urandom(100_000))[:5000])
    source = JsonLinesSource(path)
    with pytest.raises(InputError, match="cannot be read on"):
        everything(source)
    source.close()


def test_a_file_that_does_not_exist_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        JsonLinesSource(tmp_path / "none.jsonl")


def test_standard_input_is_waited_for_but_not_longer_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    readable, writable = os.pipe()
    with io.open(readable, "rb", buffering=0) as end:  # noqa: UP020 - a file over the pipe's descriptor
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=end))
        source = JsonLinesSource(None)
        started = time.monotonic()
        assert source.poll(10, 0.05) == []
        assert 0.04 < time.monotonic() - started < 1.0
        os.write(writable, b'{"a":1}\n{"a"')
        assert [record.value for record in source.poll(10, 5.0)] == [b'{"a":1}']
        os.write(writable, b":2}")
        assert source.poll(10, 0.01) == []
        os.close(writable)
        assert [record.value for record in source.poll(10, 5.0)] == [b'{"a":2}']
        assert source.exhausted
        source.close()
