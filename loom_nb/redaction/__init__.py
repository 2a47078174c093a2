"""Takes secrets out of texts: those that are known, in every form, and what has the form of one."""
