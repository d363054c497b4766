"""Parsers and property documents: one module a domain."""
