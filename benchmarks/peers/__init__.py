"""``lt.solve`` inside its peers: their own tests run with our solver put in, and digits on hard problems.

``python -m benchmarks.peers`` does both, stores what it saw in ``benchmarks/results/peers.json`` and writes the
tables of ``docs/trust.md`` from it.
"""
