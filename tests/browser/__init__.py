"""JupyterLab and Jupyter Notebook, driven by a real Chromium."""
