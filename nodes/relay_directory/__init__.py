"""The relay directory: who takes part in the overlay, and by which keys; versioned, and signed by the panel.

`facts` stores what nodes say of themselves, `publishing` makes a new version when something changed,
`publisher` does so at once where a node came or went, `answers` says what changed since a version, and
`courier` tells agents that there is a new one. What is signed, and how it is applied, says
`fogagent.overlay.directory`.
"""
