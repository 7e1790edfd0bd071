"""The same two jobs as users would write them with other tools, as well as we can."""
