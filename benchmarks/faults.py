"""The fault campaign: seeded scenarios on real servers, each held against an undisturbed run over the same records.

``make faults`` runs all, ``make faults ARGS=--quick`` a few, ``make faults ARGS="--seed N"`` one again. What a scenario does is in
``tests/faults``. The last line is ``RESULT`` and JSON; the exit code is 1 where anything was lost, repeated or different.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from stream.errors import ServiceError
from tests.faults.campaign import Campaign, fight
from tests.faults.inputs import real_series
from tests.faults.running import Report
from tests.services import Unavailable

SCENARIOS, QUICK = 200, 12
EVERY_CLUSTER = 5
"""Every so many scenarios, one on three brokers."""


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} scenarios on one broker")
    parser.add_argument("--scenarios", type=int, default=SCENARIOS)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--sites", type=int, default=2, help="sites of one broker that run side by side")
    parser.add_argument("--no-cluster", action="store_true", help="no site of three brokers")
    given = parser.parse_args()
    chosen = (
        [given.seed]
        if given.seed is not None
        else list(range(given.first, given.first + (QUICK if given.quick else given.scenarios)))
    )
    clustered = not (given.quick or given.no_cluster)
    seeds = [(seed, 3 if clustered and seed % EVERY_CLUSTER == 0 else 1) for seed in chosen]
    wanted = [1] * min(given.sites, sum(brokers == 1 for _, brokers in seeds))
    sites = [*([3] if any(brokers == 3 for _, brokers in seeds) else []), *wanted]
    keep = Path(tempfile.mkdtemp(prefix="tidecast-faults-kept-"))
    print(f"{len(seeds)} scenarios on {len(sites)} sites; real series: {len(real_series())}", flush=True)
    try:
        campaign = fight(seeds, sites, keep, _tell)
    except (Unavailable, ServiceError) as error:
        print(f"cannot run: {error}")
        return 4
    _sum_up(campaign)
    return 0 if campaign.held else 1


def _tell(report: Report) -> None:
    numbers = report.numbers
    print(
        f"{'held  ' if report.held else 'FAILED'} seed {report.seed:>4}  {report.seconds:5.1f} s  {numbers['records']:>5} records"
        f"  {numbers['alerts']:>3} alerts  {numbers['letters']:>2} letters  {', '.join(report.faults)}",
        flush=True,
    )
    if not report.held:
        for line in report.told:
            print(f"       {line}")
        timeline = Path(report.kept, "timeline.txt")
        if report.kept and timeline.exists():
            print(timeline.read_text(encoding="utf-8"), end="")
        print(f'       logs: {report.kept}; again: make faults ARGS="--seed {report.seed}"', flush=True)


def _sum_up(campaign: Campaign) -> None:
    print(
        "\nseconds until all that had been sent was published, counted from the fault or, where it lasts, from its end"
    )
    print(f"{'fault':<18} {'times':>5} {'p50':>7} {'max':>7}")
    for kind, (count, middle, most) in campaign.recoveries().items():
        print(f"{kind:<18} {count:>5} {middle:>7.2f} {most:>7.2f}")
    for line in campaign.broken:
        print(f"broken: {line}")
    failed = [report.seed for report in campaign.reports if not report.held]
    print(f"failed seeds: {failed or 'none'}; {campaign.seconds:.0f} s in all")
    numbers = campaign.numbers()
    order = ["scenarios", "faults", "records", "lost", "duplicated", "differing"]
    more = [name for name in numbers if name not in order]
    result = {name: numbers.get(name, 0) for name in [*order, *more]}
    result |= {"failed": len(failed), "broken": len(campaign.broken), "seconds": round(campaign.seconds)}
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
