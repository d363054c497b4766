"""The dashboard: pages and a JSON API over what is stored, and buttons that call what the commands call.

It holds no logic of its own: queries are in :mod:`hts_flows.stores`, actions in :mod:`hts_flows.launch`, figures in
:mod:`hts_flows.figures`.
"""
