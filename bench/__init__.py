"""Benchmarks of Agent OS beside plain baselines, measured in turns on the same machine: ``make bench``."""
