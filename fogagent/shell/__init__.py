"""The agent's hands: they carry out what `fogagent.state` decides, and tell it what happens.

Each part does the instructions of one kind; `fogagent.shell.agent` gives them out.
"""
