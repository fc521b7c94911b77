"""The routing brain of Fogpanel: pure Python and numpy, no Django, usable as a library and simulator."""
