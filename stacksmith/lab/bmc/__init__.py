"""Emulated baseboard management controllers: sushy-tools' emulator, with what it lacks of a real BMC around it.

`farm` is the process, one HTTPS port per BMC; `node` is what the lab does about it. Each BMC is a `Bmc`, which answers
a `Request` with an `Answer`: sign-in, faults and quirks of its profile, what is ours, and the emulator for the rest.
"""
