"""Where a partition's log does not go on where we left it: records are gone before they were read, or the topic was made anew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from models.checkpoint import pack, unpack
from stream.messages import AlertMessage, iso
from stream.redis_store import PartitionPublication
from workers.lane import Lane
from workers.ledger import Holding, Ledger
from workers.series import Place

GAP, ANEW = "log-gap", "log-anew"
"""Kinds of alerts. They are of a partition: it stands in the place of the series, as ``topic/partition``."""


def told(lane: Lane, holding: Holding, kind: str, wanted: int, actual: int, now_us: int) -> PartitionPublication:
    """The alert of a break, which is over as soon as it has been said: what is gone does not come back."""
    claim = holding.claim
    place = f"{claim.topic}/{claim.partition}"
    print_ = hashlib.blake2b(
        f"{kind}\x1f{place}\x1f{wanted}\x1f{actual}\x1f{claim.epoch}".encode(), digest_size=8
    ).hexdigest()
    if kind == GAP:
        title = f"{place}: offsets {wanted} to {actual - 1} are no longer in Kafka and were never read; going on at {actual}"
    else:
        title = f"{place}: the topic was made anew, its offsets begin again at {actual}; the series keep what they have learnt"
    shared = {
        "fingerprint": print_,
        "feed": lane.feed.name,
        "series": place,
        "kind": kind,
        "severity": "critical" if kind == GAP else "warning",
        "started": iso(now_us),
        "at": iso(now_us),
        "issued": iso(now_us),
        "title": title,
        "evidence": {"wanted": wanted, "actual": actual},
    }
    alerts = [
        AlertMessage.model_validate(shared | {"id": f"{print_}-firing", "status": "firing"}),
        AlertMessage.model_validate(shared | {"id": f"{print_}-resolved", "status": "resolved", "ended": iso(now_us)}),
    ]
    return PartitionPublication(claim, lane.feed.name, 0, -1, alerts=alerts, by_clock=True, anew=kind == ANEW)


def forget_offsets(lanes: list[Lane], ledger: Ledger, place: Place, now_us: int) -> Iterator[PartitionPublication]:
    """Let every series of a partition take records from offset 0 on again, those in memory at once.

    What it gives is to be published, one after the other: the states of those that are not in memory. The offsets themselves must be
    forgotten after that only, so that what is broken off here is begun again.
    """
    holding = ledger.holdings[place]
    holding.published = holding.reached = -1
    holding.complete, holding.thinning = None, ()
    for lane in lanes:
        engine = lane.engine
        resident = engine.resident[place]
        for series in resident.values():
            series.table.applied[series.row] = -1
            series.table.unsaved_from[series.row], series.table.unsaved_us[series.row] = 0, now_us
        for name, blob in lane.store.load_states(place.topic, place.partition, lane.feed.name):
            if name in resident:
                continue
            try:
                arrays, header = unpack(blob)
            except ValueError:
                continue  # of no use anyway, as the series will say when it is heard of
            states = {name: pack(arrays, header | {"applied": -1})}
            yield PartitionPublication(holding.claim, lane.feed.name, 0, -1, states=states)
