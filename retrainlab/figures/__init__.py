"""The figures: their settings, how they are drawn and saved, what is said of them, and the notebooks that make them."""
