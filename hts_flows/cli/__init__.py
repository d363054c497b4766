"""The ``hts`` command."""
