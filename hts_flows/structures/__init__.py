"""Structure generators: one module a domain."""
