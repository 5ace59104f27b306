"""The live page and the HTTP API: what the workers publish to Redis, for people and programs."""
