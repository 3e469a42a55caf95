"""What explorers show: numbers, sentences, pictures and pages. No widgets."""
