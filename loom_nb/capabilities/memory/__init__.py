"""Memory: notes that outlive conversations, found again by words and meaning, each with why it was recalled.

What faces build on is `NoteStore` (see `store`), with the values of `notes`, `ranking`, `listing` and
`choosing`.
"""
