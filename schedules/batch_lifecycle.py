"""Runs whose batches are on their way hold no process; this sensor collects what has landed."""

from offpeak import lifecycle_sensor

# An account's list is read once per look, however many jobs are open, and less often while they are young or drag.
batch_lifecycle = lifecycle_sensor(minimum_interval_seconds=15)
