"""Requests that leave this machine: which addresses are public, and one guarded road to them."""
