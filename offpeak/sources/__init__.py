"""The application's tables as inputs: whole, as a row stream, or as the rows that changed since the last plan."""
