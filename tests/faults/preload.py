"""Imported once by the server that processes are forked from: all that a worker and a scheduler import. No thread is started."""

from contextlib import suppress

import kafka
import redis

import stream.deadletters
import stream.kafka_source
import stream.redis_models
import stream.redis_reader
import stream.redis_schedule
import stream.redis_store
import workers.cli
import workers.commands.scheduler
import workers.commands.worker
import workers.scheduler
import workers.worker

with suppress(ImportError):  # an extra
    import stream.kafka_confluent

LOADED = (
    kafka,
    redis,
    stream.deadletters,
    stream.kafka_source,
    stream.redis_models,
    stream.redis_reader,
    stream.redis_schedule,
    stream.redis_store,
    workers.cli,
    workers.commands.scheduler,
    workers.commands.worker,
    workers.scheduler,
    workers.worker,
)
