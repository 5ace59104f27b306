"""Many scenarios: several sites side by side, each a process with servers of its own, that take seeds from one queue."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from statistics import median
from typing import Any

from tests.faults.crew import end_with_parent
from tests.faults.running import Report, run
from tests.faults.scenario import KINDS, RETRAINING, draw
from tests.faults.site import Site

STALLS_AFTER_S = 600.0


@dataclass(slots=True)
class Campaign:
    """What came of it."""

    reports: list[Report] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Sites that could not be made or that ended."""
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        return bool(self.reports) and not self.broken and all(report.held for report in self.reports)

    def numbers(self) -> dict[str, int]:
        """The sums over all scenarios."""
        total: dict[str, int] = defaultdict(int)
        total["scenarios"], total["faults"] = len(self.reports), sum(len(report.faults) for report in self.reports)
        for report in self.reports:
            for name, number in report.numbers.items():
                total[name] += number
        return dict(total)

    def recoveries(self) -> dict[str, tuple[int, float, float]]:
        """Kind of fault -> how many, median and largest seconds until all that had been sent was published."""
        by_kind: dict[str, list[float]] = defaultdict(list)
        for report in self.reports:
            for kind, seconds in report.recoveries:
                by_kind[kind].append(seconds)
        order = [*KINDS, *RETRAINING]
        return {k: (len(by_kind[k]), median(by_kind[k]), max(by_kind[k])) for k in order if k in by_kind}


def fight(
    seeds: Sequence[tuple[int, int]], sites: Sequence[int], keep: Path, tell: Callable[[Report], object]
) -> Campaign:
    """Run the scenarios ``seeds``, each a seed and the brokers that it wants, on ``sites``, each a number of brokers.

    ``tell`` is called with each report as it comes. Seeds for a number of brokers that no site has are left undone, and said so.
    """
    campaign, began = Campaign(), time.monotonic()
    context = multiprocessing.get_context("spawn")
    queues = {brokers: context.Queue() for brokers in set(sites)}
    for seed, brokers in seeds:
        queues[brokers].put(seed)
    results: Any = context.Queue()
    processes = []
    for brokers in sites:
        queues[brokers].put(None)
        processes.append(context.Process(target=_serve, args=(brokers, queues[brokers], results, str(keep))))
    for process in processes:
        process.start()
    try:
        _gather(campaign, results, len(processes), tell)
    except Empty:
        campaign.broken.append(f"nothing was heard for {STALLS_AFTER_S:g} s")
    except KeyboardInterrupt:
        campaign.broken.append("interrupted")
    finally:
        if missing := len(seeds) - len(campaign.reports):
            campaign.broken.append(f"{missing} scenarios were not run")
        for process in processes:
            process.join(30)
            if process.is_alive():
                process.kill()
    campaign.seconds = time.monotonic() - began
    return campaign


def _gather(campaign: Campaign, results: Any, sites: int, tell: Callable[[Report], object]) -> None:
    """Until every site has said that it is through."""
    while sites:
        found = results.get(timeout=STALLS_AFTER_S)
        if found is None:
            sites -= 1
        elif isinstance(found, str):
            campaign.broken.append(found)
        else:
            campaign.reports.append(found)
            tell(found)


def _serve(brokers: int, seeds: Any, results: Any, keep: str) -> None:
    end_with_parent()
    os.nice(5)
    try:
        with Site(brokers) as site:
            while (seed := seeds.get()) is not None:
                results.put(run(site, draw(seed), Path(keep)))
    except Exception:  # noqa: BLE001 - whatever it is, the campaign must hear of it
        results.put(f"a site of {brokers} brokers: {traceback.format_exc(limit=-5)}")
    finally:
        results.put(None)
