"""The judge of the campaign must see what is wrong, and only that."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random

import pytest

from models.checkpoint import pack, unpack
from stream.records import Reason, Record
from tests.faults.verdict import Seen, Undisturbed, Verdict, judge
from tests.unit.engines import HOME, feed, observation, record, stream

FEED = feed(
    alerts={
        "adwin_delta": 0.1,
        "page_hinkley_threshold": 1.0,
        "minimum_rise": 1.01,
        "stale_after": 0,
        # Without them the two tests tell all that they find.
        "anomalies": False,
    }
)
NOISE = Random(0)
GOOD = [*stream(3, 60)]
GOOD += [record(len(GOOD) + n, observation("s0", 60 + n, NOISE.gauss(0, 20))) for n in range(80)]
LOG = {HOME: [*GOOD, Record("t", 0, len(GOOD), None, b"bad")]}
POISON = {(0, len(GOOD)): Reason.NOT_JSON}


@pytest.fixture(scope="module")
def whole() -> Seen:
    run = Undisturbed(FEED, HOME, {})
    run.run(LOG[HOME], {})
    seen = Seen(list(run.forecasts.values()), list(run.alerts.values()))
    seen.letters = [(0, LOG[HOME][-1].offset, "not-json", b"bad")]
    resident = run.engine.resident[HOME]
    seen.states = {HOME: {name: pack(*run.engine.snapshot(series)) for name, series in resident.items()}}
    seen.latest = {forecast["series"]: forecast for forecast in seen.forecasts}
    assert seen.alerts
    return seen


def _judged(seen: Seen) -> Verdict:
    return judge(FEED, LOG, POISON, {}, seen)


def test_a_run_in_which_nothing_happened_holds(whole: Seen) -> None:
    verdict = _judged(whole)
    assert verdict.held
    assert (verdict.forecasts, verdict.alerts, verdict.letters) == (len(whole.forecasts), len(whole.alerts), 1)


def _state_changed(seen: Seen) -> None:
    name, blob = next(iter(seen.states[HOME].items()))
    arrays, header = unpack(blob)
    arrays = {part: array.copy() for part, array in arrays.items()}
    arrays["fleet.weights"].reshape(-1)[0] += 1e-7
    seen.states[HOME][name] = pack(arrays, header)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda seen: seen.forecasts.pop(40), "lost"),
        (lambda seen: seen.forecasts.append(seen.forecasts[40]), "duplicated"),
        (lambda seen: seen.forecasts[40]["median"].__setitem__(0, 1e-9), "differing"),
        (lambda seen: seen.forecasts.append(seen.forecasts[40] | {"id": "t:0:99:0:x"}), "differing"),
        (lambda seen: seen.alerts.pop(), "lost"),
        (lambda seen: seen.alerts.append(seen.alerts[0]), "duplicated"),
        (lambda seen: seen.letters.pop(), "lost"),
        (lambda seen: seen.letters.append((0, 3, "not-json", b"")), "differing"),
        (lambda seen: seen.states[HOME].pop("s0"), "lost"),
        (lambda seen: seen.latest.update(s0=seen.forecasts[0]), "differing"),
        (_state_changed, "differing"),
    ],
)
def test_whatever_is_wrong_is_found(whole: Seen, change: Callable[[Seen], object], what: str) -> None:
    seen = copy.deepcopy(whole)
    change(seen)
    assert getattr(_judged(seen), what)


def test_a_letter_that_came_twice_is_counted_and_no_fault(whole: Seen) -> None:
    seen = copy.deepcopy(whole)
    seen.letters *= 2
    verdict = _judged(seen)
    assert verdict.held
    assert verdict.letters_again == 1
