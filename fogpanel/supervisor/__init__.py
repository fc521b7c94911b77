"""What is behind `./fog up`, `./fog test` and `./fog bench`: the panel's processes and their keeper.

The keeper starts nothing clever: each process is a program that can be started by hand, told
everything by its environment. It imports no Django, so it stays small and starts at once.
"""
