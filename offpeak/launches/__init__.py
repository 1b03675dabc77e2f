"""Days on which the realtime endpoints belong to somebody else: what is known of a launch, and what follows from it."""
