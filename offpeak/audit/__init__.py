"""The workload audit: which AI work runs in the wrong lane, what moving it would save, and how to move it."""
