"""The feed of the demonstration: synthetic sensors to Kafka, at a steady pace, from a thread of its own."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from stream.errors import TidecastError
from stream.kafka_sender import KafkaSender
from stream.sources.synthetic import SyntheticSource
from workers.demo.stage import STEPS_A_SECOND

MOST_OPEN = 100_000


class Feeder:
    """Sends a step of every sensor ``STEPS_A_SECOND`` times a second while it is open.

    ``sent_ms`` holds when each step was sent, by its event time in milliseconds, for whoever measures the way through.
    """

    def __init__(self, source: SyntheticSource, sender: KafkaSender) -> None:
        self._source, self._sender = source, sender
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidecast-feeder", daemon=True)
        self._error: TidecastError | None = None
        self.sent_ms: dict[int, float] = {}
        self.observations = 0

    def check(self) -> None:
        """Raise what ended the feed, if anything did."""
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=20)

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._end.is_set():
                records = self._source.poll(len(self._source.series), 0.0)
                self.sent_ms[records[0].timestamp_ms] = time.time() * 1000
                if len(self.sent_ms) > MOST_OPEN:
                    self.sent_ms.pop(next(iter(self.sent_ms)))
                self._sender.send(records)
                self.observations += len(records)
                due += 1 / STEPS_A_SECOND
                self._end.wait(max(0.0, due - time.monotonic()))
        except TidecastError as error:
            self._error = error
