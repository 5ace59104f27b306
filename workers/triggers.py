"""When a feed is due for retraining: pure functions of its settings, its last run and the present, all in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from workers.settings import RetrainSettings

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(time_us: int) -> datetime:
    """Microseconds since 1970 as a datetime."""
    return _EPOCH + timedelta(microseconds=time_us)


def trigger(retrain: RetrainSettings) -> BaseTrigger | None:
    """APScheduler's trigger of the settings; None where a feed is not retrained by schedule.

    Without APScheduler's jitter, which with an interval adds up from run to run: see ``Scheduler``.
    """
    if retrain.cron is not None:
        return crontab(retrain.cron)
    if retrain.every:
        return IntervalTrigger(seconds=retrain.every / 1e6, timezone=UTC)
    return None


def crontab(written: str) -> CronTrigger:
    """A trigger of five crontab fields. Days of the week count as in crontab, 0 and 7 being Sunday (APScheduler 3 has
    Monday there).
    """
    minute, hour, day, month, weekday = written.split()
    return CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=_weekdays(weekday), timezone=UTC)


def _weekdays(written: str) -> str:
    """``1-5`` as ``mon,tue,wed,thu,fri``; names and ``*`` stay."""
    if written == "*":
        return written
    parts = []
    for part in written.lower().split(","):
        span, _, every = part.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            first, last = "0", "6"
        if not first.isdigit():
            parts.append(part)
            continue
        final = int(last) if last else 6 if every else int(first)
        parts += [_DAYS[number % 7] for number in range(int(first), final + 1, int(every or 1))]
    return ",".join(dict.fromkeys(parts))


def first_run(retrain: RetrainSettings, last_us: int | None, since_us: int, now_us: int) -> datetime | None:
    """When a feed is to be retrained next; never before the present, and the present where a run is overdue, however
    many were missed.

    ``last_us`` is the start of its last run, None where there was none; ``since_us`` when it came on schedule. A feed
    that was never retrained is due at once with ``every``, and at the next time after ``since_us`` with ``cron``. None:
    not by schedule.
    """
    rule = trigger(retrain)
    if rule is None:
        return None
    if retrain.every:
        due_us = now_us if last_us is None else last_us + retrain.every
        return utc(max(due_us, now_us))
    after = utc((since_us if last_us is None else last_us) + 1)
    due: datetime | None = rule.get_next_fire_time(None, after)
    return None if due is None else max(due, utc(now_us))
