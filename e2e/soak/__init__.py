"""The same promises for longer and under more."""
