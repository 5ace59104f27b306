"""What should have come out, and how it differs from what did.

The undisturbed run is the pure engine over the very log that the workers read, partition by partition, in this process: no second set
of workers is needed, and no tolerance. Only the moment of issue may differ, and which of the champions was in force when, as nobody
promises between which two batches a worker takes one up: that is read off the forecasts themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.checkpoint import unpack
from stream.decode import Decoder
from stream.records import Reason, Record, Rejected
from workers.engine import Engine
from workers.publishing import alert_message, encode
from workers.series import Place
from workers.settings import FeedSettings

Weights = Mapping[str, NDArray[Any]]
UNTRAINED = "untrained"
_CLOCKED = ("arrival_us",)
"""Of a series' state, what the worker's clock decides."""
_MOST_TOLD = 4


@dataclass(slots=True)
class Seen:
    """What was found in Redis and in the topic of dead letters, at the end."""

    forecasts: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    letters: list[tuple[int, int, str, bytes | None]] = field(default_factory=list)
    """Partition, offset, reason and value of each dead letter."""
    states: dict[Place, dict[str, bytes]] = field(default_factory=dict)
    latest: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Series -> its latest forecast, as it stands under a key of its own."""


@dataclass(slots=True)
class Verdict:
    """What was lost, what came twice and what differs, each told in words; the numbers of what was looked at."""

    records: int = 0
    forecasts: int = 0
    alerts: int = 0
    letters: int = 0
    letters_again: int = 0
    """Dead letters that came more than once, which is allowed after a crash: they are written at least once."""
    states: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    """Processes that ended wrongly or not at all, memory that grew, a run that did not end."""

    @property
    def held(self) -> bool:
        return not (self.lost or self.duplicated or self.differing or self.other)


class Undisturbed:
    """The engine over a partition's log, as if nothing had ever happened."""

    def __init__(self, feed: FeedSettings, place: Place, models: Mapping[str, Weights]) -> None:
        self.place, self.models = place, models
        self.engine = Engine(feed, seed=0)
        self.engine.open(place, ())
        self.decoder = Decoder(feed.fields, feed.limits)
        self.untrained = self.engine.forecaster.fleet.begun()
        self.forecasts: dict[str, dict[str, Any]] = {}
        self.alerts: dict[str, dict[str, Any]] = {}
        self.rejected: list[Rejected] = []

    def run(self, log: list[Record], changes: Mapping[int, Mapping[str, str]]) -> None:
        """Run the records; at offset o, the series ``changes[o]`` go on from (or begin with) that version."""
        cuts = sorted(index for index, record in enumerate(log) if record.offset in changes)
        for start, stop in zip([0, *cuts], [*cuts, len(log)], strict=True):
            if start < len(log) and log[start].offset in changes:
                self._change(changes[log[start].offset])
            for first in range(start, stop, 200):
                self._step(log[first : min(first + 200, stop)])

    def _change(self, versions: Mapping[str, str]) -> None:
        engine = self.engine
        fleet = engine.forecaster.fleet
        for name, version in versions.items():
            if version == UNTRAINED:
                fleet.begin_from(self.untrained)
            else:
                fleet.set_start_arrays(self.models[version])
            model = f"{engine.feed.model.architecture}:{version}"
            names = [*(name for name in engine.models if name != model), model]
            engine.table.model[:] = np.array([names.index(one) for one in engine.models])[engine.table.model]
            engine.models[:] = names
            if (series := engine.resident[self.place].get(name)) is not None:
                engine._go_on_from_start([series])

    def _step(self, records: list[Record]) -> None:
        decoded = self.decoder.decode(records)
        effects = self.engine.step(decoded, 0)
        self.rejected += decoded.rejected + effects.rejected
        if effects.forecasts is not None:
            for made in encode(self.engine, effects.forecasts, decoded, 0).values():
                for _, text in made:
                    forecast = orjson.loads(text)
                    self.forecasts[forecast["id"]] = forecast
        for _, event in effects.alerts:
            message = orjson.loads(alert_message(self.engine.feed.name, event, 0).to_json())
            self.alerts[message["id"]] = message


def judge(
    feed: FeedSettings,
    log: Mapping[Place, list[Record]],
    poison: Mapping[tuple[int, int], Reason],
    models: Mapping[str, Weights],
    seen: Seen,
) -> Verdict:
    """Hold what was seen against the undisturbed run over the log; ``poison`` is by partition and offset."""
    verdict = Verdict(records=sum(map(len, log.values())))
    forecasts: dict[str, dict[str, Any]] = {}
    alerts: dict[str, dict[str, Any]] = {}
    changes = changes_of_model(seen.forecasts)
    refused: dict[tuple[int, int], str] = {}
    for place, records in log.items():
        run = Undisturbed(feed, place, models)
        run.run(records, changes.get(place.partition, {}))
        forecasts |= run.forecasts
        alerts |= run.alerts
        for one in run.rejected:
            refused.setdefault((place.partition, one.record.offset), one.reason.value)
        _compare_states(run, seen.states.get(place, {}), verdict)
    _compare("forecast", forecasts, seen.forecasts, verdict)
    _compare("alert", alerts, seen.alerts, verdict)
    verdict.forecasts, verdict.alerts, verdict.letters = len(forecasts), len(alerts), len(refused)
    newest = {forecast["series"]: forecast for forecast in sorted(forecasts.values(), key=_offset)}
    for name, forecast in newest.items():
        if _plain(seen.latest.get(name, {})) != _plain(forecast):
            verdict.differing.append(f"the latest forecast of {name}")
    if {place: reason.value for place, reason in poison.items()} != refused:
        wrong = set(poison) ^ set(refused) or {p for p in poison if poison[p].value != refused[p]}
        verdict.other.append(f"the input itself: what was meant as poison is not what is refused: {sorted(wrong)[:9]}")
    _compare_letters(refused, log, seen, verdict)
    return verdict


def changes_of_model(forecasts: Iterable[Mapping[str, Any]]) -> dict[int, dict[int, dict[str, str]]]:
    """Partition -> offset -> series -> version: where the forecasts of a series begin, and where they name another model than before."""
    now: dict[str, str] = {}
    found: dict[int, dict[int, dict[str, str]]] = {}
    for forecast in sorted(forecasts, key=_offset):
        version, name = str(forecast["model"]).partition(":")[2], forecast["series"]
        if now.get(name) != version:
            now[name] = version
            partition = int(forecast["id"].split(":")[1])
            found.setdefault(partition, {}).setdefault(_offset(forecast), {})[name] = version
    return found


def _offset(forecast: Mapping[str, Any]) -> int:
    return int(forecast["id"].split(":")[2])


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """What of a message an undisturbed run says as well: not when it was made, and not that the series is silent now."""
    return {name: content for name, content in message.items() if name != "issued"}


def _compare(what: str, expected: Mapping[str, Any], found: Iterable[dict[str, Any]], verdict: Verdict) -> None:
    counts = Counter(one["id"] for one in found)
    verdict.lost += [f"{what} {name}" for name in expected if not counts[name]]
    verdict.duplicated += [f"{what} {name}, {count} times" for name, count in counts.items() if count > 1]
    for one in found:
        if one["id"] not in expected:
            verdict.differing.append(f"{what} {one['id']} should not be there")
        elif (should := _plain(expected[one["id"]])) != (did := _plain(one)):
            parts = [f"{name}: {did.get(name)} for {should[name]}" for name in should if did.get(name) != should[name]]
            verdict.differing.append(f"{what} {one['id']}: {'; '.join(parts)[:400]}")


def _compare_states(run: Undisturbed, blobs: Mapping[str, bytes], verdict: Verdict) -> None:
    """Bit for bit: weights, moments, windows, calibration, grids, drift tests."""
    engine = run.engine
    for name, series in engine.resident[run.place].items():
        if name not in blobs:
            verdict.lost.append(f"state of {name}")
            continue
        verdict.states += 1
        arrays, header = unpack(blobs[name])
        version = str(header["model"]).partition(":")[2]
        if version != UNTRAINED and engine.models[series.table.model[series.row]] != header["model"]:
            run._change({name: version})  # taken up after the last forecast
        expected, expected_header = engine.snapshot(series)
        wrong = [part for part in expected if part not in arrays or arrays[part].tobytes() != expected[part].tobytes()]
        wrong += [
            part
            for part in expected_header
            if part not in _CLOCKED and orjson.dumps(expected_header[part]) != orjson.dumps(header.get(part))
        ]
        if wrong:
            verdict.differing.append(f"state of {name}: {', '.join(wrong[:6])}")


def _compare_letters(
    refused: Mapping[tuple[int, int], str], log: Mapping[Place, list[Record]], seen: Seen, verdict: Verdict
) -> None:
    values = {(place.partition, record.offset): record.value for place, records in log.items() for record in records}
    counts = Counter((partition, offset) for partition, offset, _, _ in seen.letters)
    verdict.letters_again = sum(count - 1 for count in counts.values())
    verdict.lost += [f"dead letter of {place}" for place in refused if place not in counts]
    for partition, offset, reason, value in seen.letters:
        place = partition, offset
        if place not in refused:
            verdict.differing.append(f"dead letter of {place}, which was no poison")
        elif (reason, value) != (refused[place], values[place]):
            verdict.differing.append(f"dead letter of {place}: {reason} for {refused[place]}, or its value")


def told(verdict: Verdict) -> list[str]:
    """What is wrong, in a few lines."""
    lines = []
    for what in ("lost", "duplicated", "differing", "other"):
        found: list[str] = getattr(verdict, what)
        lines += [f"{what}: {one}" for one in found[:_MOST_TOLD]]
        if len(found) > _MOST_TOLD:
            lines.append(f"{what}: ... and {len(found) - _MOST_TOLD} more")
    return lines
