"""Where unusable records go: unchanged, with the reason in the headers; to a topic, or to a file in a replay.

A record of which several items are unusable is sent once. Headers, all UTF-8 text:

    tidecast-reason, tidecast-detail       of the first of its rejections; reasons are those of stream.records.Reason
    tidecast-topic, -partition, -offset    where the record came from
    tidecast-timestamp                     the log's timestamp of the record, ms since 1970; -1 for none
    tidecast-item                          JSON list of the unusable items, at most 1000; absent for a whole record
    tidecast-omitted-bytes                 size of a value that the dead-letter topic does not take and that is left out
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from stream.errors import ServiceError
from stream.kafka_config import kafka_errors, open_client, servers
from stream.records import Record, Rejected

_DEFAULTS: dict[str, Any] = {
    "client_id": "tidecast-deadletters",
    # One record that the broker finds too large would end an idempotent producer for good. A letter may come twice.
    "enable_idempotence": False,
    "acks": -1,
    "linger_ms": 5,
    # The stream waits for its dead letters: better a clear error soon than minutes of silence.
    "max_block_ms": 15_000,
    "request_timeout_ms": 10_000,
    "delivery_timeout_ms": 30_000,
    # A record that was too large for us may still fit the dead-letter topic, which decides for itself.
    "max_request_size": 64 * 1024 * 1024,
}
_MOST_ITEMS = 1000
_OURS = "tidecast-"
_OMITTED = "tidecast-omitted-bytes"
_CUT = 4096
"""Bytes of a key or a header that stand for a record too large for the topic."""


class DeadLetterSink(ABC):
    """Takes rejections, those of one record together."""

    def __init__(self) -> None:
        self._gathered: list[Rejected] = []

    def send(self, rejected: Rejected) -> None:
        """Take one rejection. Those of one record come one after the other, as the decoder gives them."""
        if self._gathered and _place(self._gathered[0].record) != _place(rejected.record):
            self._emit_gathered()
        self._gathered.append(rejected)

    def flush(self) -> None:
        """Return once all that was sent is safely there; ServiceError if some of it is not."""
        self._emit_gathered()

    @abstractmethod
    def close(self) -> None:
        """Flush, and give up what is held open."""

    @abstractmethod
    def _emit(self, rejections: list[Rejected]) -> None: ...

    def _emit_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._emit(gathered)


class DeadLetters(DeadLetterSink):
    """A dead-letter topic."""

    def __init__(self, kafka: Mapping[str, Any], topic: str) -> None:
        """ConfigurationError for settings that Kafka refuses, ServiceError where no broker answers."""
        super().__init__()
        self._kafka = kafka
        self._topic = topic
        self._producer, _ = open_client(KafkaProducer, kafka, _DEFAULTS)
        # What has yet to be handed to the client; and what the client has yet to deliver.
        self._waiting: list[list[Rejected]] = []
        self._sent: list[tuple[Any, list[Rejected]]] = []

    def flush(self) -> None:
        """Return once Kafka has all that was sent; ServiceError, naming a record, if it has not: flush again then."""
        super().flush()
        self._hand_over()
        failed = []
        for error, rejections in self._outcomes():
            if isinstance(error, MessageSizeTooLargeError):
                # The topic takes less than the producer thought: the reason is worth more than the value.
                self._produce(rejections, omit=True)
            else:
                failed.append((error, rejections))
        failed += self._outcomes()
        if failed:
            self._waiting = [rejections for _, rejections in failed]
            error, rejections = failed[0]
            where = "/".join(map(str, _place(rejections[0].record)))
            raise ServiceError(
                f"Kafka at {servers(self._kafka)}: {len(failed)} dead letters did not reach topic {self._topic}, first "
                f"that of {where}: {error or 'no answer'}; check the topic and the brokers"
            )

    def close(self) -> None:
        """Flush and disconnect; ServiceError as with ``flush``."""
        try:
            self.flush()
        finally:
            self._producer.close(timeout=5)

    def _emit(self, rejections: list[Rejected]) -> None:
        self._waiting.append(rejections)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._waiting:
            self._produce(self._waiting[0], omit=False)
            del self._waiting[0]

    def _produce(self, rejections: list[Rejected], *, omit: bool) -> None:
        record = rejections[0].record
        value, key, headers = record.value, record.key, _headers(rejections)
        if omit:
            # Its own headers and key may be what is too large: only what we say of it stays.
            headers = [(name, content[:_CUT]) for name, content in headers if name.startswith(_OURS)]
            headers.append((_OMITTED, str(len(record.value or b"")).encode()))
            value, key = None, (key if key is not None and len(key) <= _CUT else None)
        if value is None and key is None:
            # kafka-python sends no record without both.
            value = b""
        with kafka_errors(f"send to topic {self._topic}", self._kafka):
            try:
                future = self._producer.send(self._topic, value=value, key=key, headers=headers)
            except MessageSizeTooLargeError:
                if omit:
                    raise
                future = None
        if future is None:
            self._produce(rejections, omit=True)
        else:
            self._sent.append((future, rejections))

    def _outcomes(self) -> list[tuple[Any, list[Rejected]]]:
        """Wait for what was sent; the error (None: no answer) and the rejections of each that did not arrive."""
        limit_s = self._producer.config["delivery_timeout_ms"] / 1000 + 5
        sent, self._sent = self._sent, []
        if sent:
            # A flush that fails leaves futures that have not succeeded: those count as not delivered.
            with suppress(KafkaError):
                self._producer.flush(timeout=limit_s)
        return [(future.exception, rejections) for future, rejections in sent if not future.succeeded()]


class JsonLinesDeadLetters(DeadLetterSink):
    """A file with one JSON object a dead letter; key and value as text, or in base64 where they are no UTF-8."""

    def __init__(self, path: Path) -> None:
        """The file is made with the first dead letter; an older one is added to."""
        super().__init__()
        self._path = path
        self._lines: list[bytes] = []

    def flush(self) -> None:
        """Write what was sent; ServiceError where that fails."""
        super().flush()
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
        except OSError as error:
            raise ServiceError(f"{self._path}: dead letters cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Write what is left."""
        self.flush()

    def _emit(self, rejections: list[Rejected]) -> None:
        record = rejections[0].record
        letter = {
            "headers": {name: value.decode("utf-8", "replace") for name, value in _headers(rejections)},
            **_readable("key", record.key),
            **_readable("value", record.value),
        }
        self._lines.append(msgspec.json.encode(letter) + b"\n")


def _place(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _headers(rejections: list[Rejected]) -> list[tuple[str, bytes]]:
    first = rejections[0]
    record = first.record
    ours = {
        "reason": first.reason.value,
        "detail": first.detail,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp_ms),
    }
    items = [rejected.item for rejected in rejections if rejected.item is not None]
    if items:
        ours["item"] = msgspec.json.encode(sorted(set(items))[:_MOST_ITEMS]).decode()
    return [*record.headers, *((f"tidecast-{name}", text.encode("utf-8", "replace")) for name, text in ours.items())]


def _readable(name: str, content: bytes | None) -> dict[str, str | None]:
    if content is None:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}
