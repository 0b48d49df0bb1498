"""Provider trees: what can be allocated where, and what is. Placement's model and semantics, in memory."""
