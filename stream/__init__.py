"""Data in, data out: Kafka, Redis, files, bytes and event time."""
