"""claimwatch: keeps watch over the claims that an article makes."""

__version__ = "0.1.0"
