"""The machine: sessions, runs, the loop and its policies."""
