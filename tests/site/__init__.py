"""The site for those who have only a browser; tests/browser opens it."""
