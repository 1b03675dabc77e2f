"""What people look at to see whether a launch can come: reports that buy nothing."""
