"""The same two jobs as people would write them with other tools, and as well as we know how."""
