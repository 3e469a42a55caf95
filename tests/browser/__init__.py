"""The explorers in a real JupyterLab in a real browser. A package, so that its browser is closed before other tests run."""
