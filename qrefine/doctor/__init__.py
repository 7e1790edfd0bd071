"""`qrefine doctor`: looks at what a refinement needs before one is started, and says how to mend what is wrong."""
