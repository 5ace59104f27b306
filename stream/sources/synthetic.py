"""A seeded synthetic feed: plausible sensors, and faults at known steps, for demonstrations and tests.

Sensor s at step k reads

    level + trend * days + daily shape + spread * a[k],   a[k] = phi * a[k-1] + sqrt(1 - phi^2) * e[k],  e ~ N(0, 1)

The daily shape has two harmonics with a phase of the sensor's own. The same arguments give the same records, however
they are polled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.records import Record

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sensor: units of its readings in ``unit``, ``trend`` per day, the others in readings."""

    name: str
    unit: str
    level: float
    daily: float
    spread: float
    phi: float
    trend: float
    positive: bool


KINDS = (
    Kind("temperature", "°C", level=21.0, daily=4.0, spread=0.35, phi=0.9, trend=0.02, positive=False),
    Kind("pressure", "bar", level=6.2, daily=0.12, spread=0.06, phi=0.7, trend=-0.002, positive=True),
    Kind("vibration", "mm/s", level=2.4, daily=0.25, spread=0.18, phi=0.4, trend=0.004, positive=True),
    Kind("flow", "m3/h", level=48.0, daily=11.0, spread=1.6, phi=0.8, trend=0.01, positive=True),
    Kind("power", "kW", level=130.0, daily=55.0, spread=5.0, phi=0.85, trend=0.05, positive=True),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with one sensor from step ``start`` on, for ``steps`` (None: for good).

    shift: the level moves by ``size`` spreads. burst: the noise grows ``size`` times. stuck: the reading stays put.
    """

    sensor: int
    kind: Literal["shift", "burst", "stuck"]
    start: int
    steps: int | None = None
    size: float = 6.0

    def active(self, step: int) -> bool:
        """Whether the fault shows at ``step``."""
        return step >= self.start and (self.steps is None or step < self.start + self.steps)


class SyntheticSource:
    """``sensors`` sensors that report every ``step_us`` microseconds from ``start_us`` on, ``steps`` times or for ever.

    Records are JSON objects with ``time`` (epoch milliseconds), ``series``, ``value``, ``kind`` and ``unit``; the key
    is the series id, and the log's timestamp the event time.
    """

    def __init__(
        self,
        sensors: int,
        *,
        seed: int,
        start_us: int,
        step_us: int = 60_000_000,
        steps: int | None = None,
        faults: Sequence[Fault] = (),
        topic: str = "synthetic",
    ) -> None:
        if sensors < 1 or step_us < 1000 or step_us % 1000:
            raise ValueError(f"sensors ({sensors}) must be positive and step_us ({step_us}) whole milliseconds")
        odd = [fault for fault in faults if not 0 <= fault.sensor < sensors]
        if odd:
            raise ValueError(f"{odd[0]}: there are only sensors 0 to {sensors - 1}")
        self._start_us, self._step_us, self._steps, self._topic = start_us, step_us, steps, topic
        self._faults = tuple(faults)
        self._random = np.random.default_rng(seed)
        kinds = [KINDS[sensor % len(KINDS)] for sensor in range(sensors)]
        self._kinds = kinds
        self.series = [f"{kind.name}-{sensor // len(KINDS):03d}" for sensor, kind in enumerate(kinds)]
        """The series ids, in the order of the sensors."""
        scale = self._random.uniform(0.8, 1.2, sensors)
        self._level = np.array([kind.level for kind in kinds]) * scale
        self._daily = np.array([kind.daily for kind in kinds]) * scale
        self._spread = np.array([kind.spread for kind in kinds])
        self._phi = np.array([kind.phi for kind in kinds])
        self._trend = np.array([kind.trend for kind in kinds]) * self._random.normal(0.0, 1.0, sensors)
        self._phase = self._random.uniform(0.0, 2 * np.pi, (2, sensors))
        self._positive = np.array([kind.positive for kind in kinds])
        self._wander = self._random.normal(0.0, 1.0, sensors)
        self._readings = np.zeros(sensors)
        self._step = 0
        self._waiting: list[Record] = []
        self._offset = 0

    @property
    def exhausted(self) -> bool:
        """True after the last step."""
        return not self._waiting and self._steps is not None and self._step >= self._steps

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:  # noqa: ARG002 - never waits
        """The next records, at once: whoever wants real time waits for it."""
        while len(self._waiting) < max_records and (self._steps is None or self._step < self._steps):
            self._waiting += self._next_step()
        polled, self._waiting = self._waiting[:max_records], self._waiting[max_records:]
        return polled

    def close(self) -> None:
        """End the feed."""
        self._waiting = []
        self._steps = self._step

    def _next_step(self) -> list[Record]:
        time_us = self._start_us + self._step * self._step_us
        self._readings = self._read(time_us)
        self._step += 1
        time_ms = time_us // 1000
        records = []
        for name, kind, reading in zip(self.series, self._kinds, self._readings.tolist(), strict=True):
            value = {"time": time_ms, "series": name, "value": round(reading, 4), "kind": kind.name, "unit": kind.unit}
            records.append(Record(self._topic, 0, self._offset, name.encode(), msgspec.json.encode(value), time_ms))
            self._offset += 1
        return records

    def _read(self, time_us: int) -> NDArray[np.float64]:
        noise = self._random.normal(0.0, 1.0, len(self.series))
        self._wander = self._phi * self._wander + np.sqrt(1.0 - self._phi**2) * noise
        days = self._step * self._step_us / _DAY_US
        angle = 2 * np.pi * (time_us % _DAY_US) / _DAY_US
        shape = 0.8 * np.sin(angle + self._phase[0]) + 0.2 * np.sin(2 * angle + self._phase[1])
        deviation = self._wander.copy()
        stuck: list[int] = []
        for fault in self._faults:
            if not fault.active(self._step):
                continue
            if fault.kind == "shift":
                deviation[fault.sensor] += fault.size
            elif fault.kind == "burst":
                deviation[fault.sensor] *= fault.size
            elif self._step > 0:
                stuck.append(fault.sensor)
        readings: NDArray[np.float64] = (
            self._level + self._trend * days + self._daily * shape + self._spread * deviation
        )
        readings[self._positive] = np.maximum(readings[self._positive], 0.0)
        readings[stuck] = self._readings[stuck]
        return readings
