"""What all explorers are made of."""
