"""Write explanation.svg beside this file, and print its sentences: ``python docs/pictures/make_explanation_picture.py``.

The temperature of a hall, every 15 minutes for 30 days: warm by day, driven by the sun, and since three hours two degrees warmer than it was.
"""  # noqa: INP001 - a script, not a package

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from models.threads import single_threaded
from stream.decode import Decoder
from stream.records import Record
from workers.engine import Engine
from workers.explaining.finding import Found
from workers.explaining.picture import picture
from workers.explaining.telling import told_forecast
from workers.series import Place
from workers.settings import FeedSettings

PICTURE = Path(__file__).with_name("explanation.svg")
HOME, START_S, STEP_S, DAYS = Place("halls", 0), 1_761_955_200, 900, 30
FEED = {"name": "halls", "topics": [HOME.topic], "step": "15m", "fields": {"channels": ["sun"]}}


def main() -> None:
    """Run the engine over the feed, explain the newest forecast, and draw it."""
    single_threaded()
    rng, count = np.random.default_rng(3), DAYS * 96 + 56
    at = np.arange(count)
    clouds = np.convolve(rng.normal(size=count), np.exp(-np.arange(48) / 12), "same")
    sun = np.clip(np.sin(2 * np.pi * (at - 24) / 96), 0, None) * (1 + 0.15 * clouds)
    value = 19 + 2 * np.sin(2 * np.pi * (at - 36) / 96) + 0.15 * rng.normal(size=count)
    value[4:] += 2.5 * sun[:-4]
    value[-12:] += 2.0
    feed = FeedSettings.model_validate(FEED)
    engine, decoder = Engine(feed, seed=0), Decoder(feed.fields, feed.limits)
    engine.open(HOME, [])
    for slot in range(count):
        item = {
            "series": "hall-7",
            "time": START_S + slot * STEP_S,
            "value": round(value[slot], 2),
            "sun": round(sun[slot], 3),
        }
        engine.step(decoder.decode([Record(HOME.topic, 0, slot, None, json.dumps(item).encode())]), 0)
    told, line = told_forecast(Found(engine, engine.resident[HOME]["hall-7"], None), None, feed.horizon)
    PICTURE.write_text(picture(told, line) + "\n", encoding="utf-8")
    for sentence in [*told.sentences, *told.notes]:
        print(sentence)  # noqa: T201 - what the page quotes


if __name__ == "__main__":
    main()
