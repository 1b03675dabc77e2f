"""Launches in words and pictures: what they need, what is prepared for them, and what to do by when."""
