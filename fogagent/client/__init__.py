"""The command-line client: what a person does with a panel from a terminal."""
