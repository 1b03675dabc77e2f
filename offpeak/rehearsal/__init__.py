"""A launch played before it happens: its expected traffic against a stand-in of the providers, under their limits."""
