"""Benchmarks, with the same work done by hand beside each where there is such a thing. ``python -m bench [NAME…]``.

What must hold everywhere (numbers of calls) is a test; what depends on the machine (seconds) is here.
"""
