"""Protocols over many victims: what is run, kept by content, and made into tables."""
