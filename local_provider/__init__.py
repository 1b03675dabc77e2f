"""An offline HTTP server that speaks the OpenAI and Anthropic batch APIs, and says what was bought from it.

A separate program: it shares nothing but HTTP with whatever talks to it. Start it with `python -m local_provider`.
"""
