"""Requests: what their answers mean, that they end in time, and that they are signed so that nobody can repeat them."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from stream.errors import InputError, ServiceError
from stream.http_post import HttpPost
from stream.signature import sign, verify
from tests.integration.receivers import Answer, Receiver

PATH = "/hook/s3cr3t?token=s3cr3t"


@pytest.mark.parametrize(
    ("status", "accepted", "again"),
    [
        (200, True, False),
        (202, True, False),
        (301, False, False),
        (400, False, False),
        (401, False, False),
        (404, False, False),
        (408, False, True),
        (410, False, False),
        (425, False, True),
        (429, False, True),
        (500, False, True),
        (501, False, False),
        (503, False, True),
    ],
)
def test_a_status_says_whether_to_try_again(status: int, accepted: bool, again: bool) -> None:
    with Receiver(lambda _: Answer(status, {"Location": "/elsewhere", "Retry-After": "7"})) as there:
        answer = HttpPost(there.url + PATH, 5.0).post(b"{}", {})
    assert (answer.status, answer.accepted) == (status, accepted)
    assert (answer.worth_retrying and not accepted) == again
    assert answer.retry_after_s == 7.0
    assert [one.path for one in there.received] == [PATH]


@pytest.mark.parametrize(
    "how", [Answer(after_s=3), Answer(drip_s=0.05), Answer(drop=True)], ids=["slow", "drips", "drops"]
)
def test_a_request_ends_in_time_and_its_error_shows_no_path(how: Answer) -> None:
    with Receiver(lambda _: how) as there:
        post = HttpPost(there.url + PATH, 0.5)
        began = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            post.post(b"{}", {})
        assert time.monotonic() - began < 2.0
        assert there.url in str(caught.value)
        assert "s3cr3t" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_the_connection_is_kept_but_not_after_an_endless_answer() -> None:
    answers = iter([Answer(body=b"short"), Answer(body=b"x" * 1_000_000), Answer(), Answer()])
    with Receiver(lambda _: next(answers)) as there:
        post = HttpPost(there.url, 5.0)
        assert [post.post(b"{}", {}).status for _ in range(4)] == [200] * 4
        post.close()


def test_nobody_there_is_an_error_of_the_service() -> None:
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:1: no answer"):
        HttpPost("http://127.0.0.1:1/s3cr3t", 1.0).post(b"", {})


def test_only_a_server_that_somebody_vouches_for_is_spoken_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *made, *more], check=True, capture_output=True)
    with Receiver(certificate=certificate, key=key) as there:
        with pytest.raises(ServiceError, match="no answer"):
            HttpPost(there.url, 5.0).post(b"{}", {})
        assert not there.received
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert HttpPost(there.url, 5.0).post(b"{}", {}).accepted
        with pytest.raises(ServiceError, match="no answer"):
            HttpPost(there.url.replace("127.0.0.1", "localhost"), 5.0).post(b"{}", {})


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("12", 12.0), ("99999999", 3600.0), ("-1", None), ("soon", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
def test_retry_after_is_read_and_bounded(header: str, seconds: float | None) -> None:
    with Receiver(lambda _: Answer(429, {"Retry-After": header})) as there:
        assert HttpPost(there.url, 5.0).post(b"", {}).retry_after_s == seconds


def test_a_signature_holds_for_its_key_its_body_and_its_time() -> None:
    header = sign("key", b"body", 1_000_000)
    verify("key", b"body", header, 1_000_100.0)
    for key, body, given, now in (
        ("other", b"body", header, 1_000_000.0),
        ("key", b"other", header, 1_000_000.0),
        ("key", b"body", header.replace("t=1000000", "t=1000300"), 1_000_300.0),
        ("key", b"body", header, 1_000_301.0),
        ("key", b"body", header, 999_600.0),
        ("key", b"body", "", 1_000_000.0),
        ("key", b"body", f"{header},v1=00", 1_000_000.0),
    ):
        with pytest.raises(InputError, match="Tidecast-Signature"):
            verify(key, body, given, now)
