"""Places a whole batch jointly: a mixed-integer program over lots of equal units, then each unit dealt to a slot.

Anti-affinity is left out of the program at first and kept when units are dealt. Only groups for which no deal is found
come into the program. A program with fewer rules than the batch has never needs more hosts than the batch does: its
bound holds for the batch, and a deal that reaches it is the optimum.
"""
