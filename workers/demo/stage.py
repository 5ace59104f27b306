"""What the demonstration plays: its sensors, what goes wrong and when, and the configuration of its worker."""

from __future__ import annotations

from typing import Any

from stream.sources.synthetic import Fault

FEED = "plant"
NAMESPACE = "demo"
STEP_US = 600_000_000
START_US = 1_767_571_200_000_000
"""Monday, 5 January 2026: the feed runs much faster than the clock, from a day of its own."""
SENSORS = 5
STEPS_A_SECOND = 12
SEED = 7
CONTEXT, HORIZON = 48, 24

FIRST_FAULT_S, FAULT_EVERY_S, FAULT_S = 22, 40, 12
INCIDENTS = 500
"""More than anybody will watch: the last one is after some hours."""


def faults() -> list[Fault]:
    """A valve sticks and then jumps, a thermostat swings, a motor stutters: one sensor at a time, over and over."""
    made = []
    for number in range(INCIDENTS):
        start = (FIRST_FAULT_S + number * FAULT_EVERY_S) * STEPS_A_SECOND
        steps = FAULT_S * STEPS_A_SECOND
        match number % 3:
            case 0:
                stuck = 2 * STEPS_A_SECOND
                made += [Fault(3, "stuck", start, stuck), Fault(3, "burst", start + stuck, steps, 7.0)]
            case 1:
                made += [Fault(0, "burst", start, steps, 7.0)]
            case _:
                made += [Fault(4, "burst", start, steps, 6.0)]
    return made


def configuration(bootstrap_servers: str, redis_url: str) -> dict[str, Any]:
    """A tidecast.yaml for these servers: what a user would write, with small networks so that one core keeps up."""
    return {
        "namespace": NAMESPACE,
        # The embedded broker lets members wait for half of this before they have joined.
        "kafka": {
            "bootstrap_servers": bootstrap_servers,
            "group_id": "tidecast-demo",
            "session_timeout_ms": 6_000,
            "heartbeat_interval_ms": 2_000,
            # The embedded broker answers a waiting fetch only when its time is up.
            "fetch_max_wait_ms": 20,
        },
        "redis": {"url": redis_url},
        "feeds": [
            {
                "name": FEED,
                "topics": [FEED],
                "partitions": 2,
                "step": "10m",
                "context": CONTEXT,
                "horizon": HORIZON,
                # Some minutes of watching are months of the feed's own time.
                "limits": {"future_s": 10 * 365 * 86_400},
                "model": {"architecture": "gru", "hidden": 16, "patch": 8},
                # A week of the feed takes 84 seconds of watching.
                "alerts": {"stale_after": "30s", "false_alarms_per_week": 0.05},
            }
        ],
        "worker": {"poll_timeout": "50ms"},
    }
