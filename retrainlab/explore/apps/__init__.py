"""The widgets of the explorers; what they show is made in `views`, under the same name."""
