"""The workload audit from usage: which jobs a log of LLM calls holds, how each runs, and how many tokens it takes.

Nothing here knows prices. Memory grows with jobs and with the minutes they are active in, never with lines.
"""
