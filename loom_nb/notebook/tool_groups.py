"""The words that `-t` knows besides the functions of the notebook, and what each brings.

One list: help, Tab, suggestions, `%loom tools` and what a cell is equipped with all go by it.
"""

from collections.abc import Mapping
from types import MappingProxyType

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "files": "list, search, read, write and edit files of the working directory",
        "shell": "run commands in the working directory, in a sandbox where there is one",
        "web": "read public web pages as text",
        "http": "any HTTP request to public addresses, with the secrets that are granted to it",
        "cells": "read the cells of this notebook, and propose changes to them",
        "scratchpad": "short notes of its own that outlive the compaction of a long run",
        "memory": "keep notes, and find them again in other conversations: %loom memory",
        "knowledge": "search the documents of this notebook and cite them: %loom knowledge",
        "skills": "load procedures when they are needed: %loom skills",
        "identity": "edit the files that tell it of itself and of you: %loom identity",
        "ssh": "run commands on a machine whose secret is granted: %loom key",
    }
)
"""By name: what the agent can do with it."""

ALWAYS = ("variables", "python", "human", "plan")
"""What every cell has: variables to look at, code to run, a person to ask, a plan."""
