"""The few places where a cell can be clicked: each a class with its JavaScript and CSS beside it."""
