"""The notebook's face: cells, magics, the picture of a run; the only package that knows Jupyter."""
