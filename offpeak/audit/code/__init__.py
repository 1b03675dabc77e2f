"""Calls of the provider SDKs in Python code that no person waits for. Code is parsed, and never run."""
