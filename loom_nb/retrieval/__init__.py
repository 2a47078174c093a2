"""Finding texts by words and by meaning; used by memory and by knowledge, and blind to both."""
