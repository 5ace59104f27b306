"""The demonstration: a broker, Redis, a feed, a worker and a live view on one machine."""
