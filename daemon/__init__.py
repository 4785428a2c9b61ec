"""claimwatch: keeps watch over the claims that an article makes."""

DISTRIBUTION = "claimwatch"
"""How `__main__` knows this package from another of the same name."""
__version__ = "0.1.0"
