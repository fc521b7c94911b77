"""Real processes and real faults: what the panel promises when parts of it are killed."""
