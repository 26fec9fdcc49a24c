"""Stands in the way of the package of this name, which mkdocs brings.

With it, Flask's reloader would watch every folder of the environment, and drown in their events.
"""

raise ImportError("the reloader looks at the files' times")
