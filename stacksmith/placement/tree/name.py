"""Names of resource classes, traits and groups, as Placement allows them."""

import re

from stacksmith.model.standard import is_class

# A provider with this trait offers its inventory to every tree that shares an aggregate with it.
SHARES = "MISC_SHARES_VIA_AGGREGATE"
MAX_LENGTH = 255

_WORD = re.compile("[A-Z0-9_]+")
_GROUP = re.compile("[a-zA-Z0-9_-]{1,64}")


def class_problem(name: str) -> str | None:
    """Why this is not the name of a resource class; None when it is."""
    problem = trait_problem(name)
    if problem is None and not is_class(name):
        return "no standard class, and one of your own starts with CUSTOM_"
    return problem


def trait_problem(name: str) -> str | None:
    """Why this is not the name of a trait; None when it is. Standard traits are not told from misspelt ones."""
    if not _WORD.fullmatch(name):
        return "only A-Z, 0-9 and _ may be in it"
    return f"longer than {MAX_LENGTH} characters" if len(name) > MAX_LENGTH else None


def group_problem(name: str) -> str | None:
    """Why this is not the name of a granular group; None when it is."""
    return None if _GROUP.fullmatch(name) else "1 to 64 of a-z, A-Z, 0-9, _ and - may be in it"
