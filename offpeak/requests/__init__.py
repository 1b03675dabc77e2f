"""Requests as plain data, and the fingerprint that names what each one asks."""

from offpeak.requests.values import Chat, Embedding, Image, Message, Moderation, Request

__all__ = ["Chat", "Embedding", "Image", "Message", "Moderation", "Request"]
