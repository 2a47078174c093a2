"""loom_nb: an agent runtime that lives in your notebook."""

__version__ = "0.1.0.dev0"
