"""Ways to make a network sparse, one file each; `base` says what such a method may do."""
