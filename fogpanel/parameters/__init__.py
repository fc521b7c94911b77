"""Named parameters: figures that can be changed while the panel runs, by a person or by a vote.

`parameter` says what one is, `catalogue` lists them all, `store` reads them and `changing` changes them.
"""
