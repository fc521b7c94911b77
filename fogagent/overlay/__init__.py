"""The overlay: links between agents, and what crosses them."""
