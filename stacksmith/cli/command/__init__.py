"""The commands: each reads its options, asks the engine, and shows what a view makes of the answer."""
