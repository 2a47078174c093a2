"""Secrets, encrypted where they lie: what they are, how they are sealed, and where they are kept."""
