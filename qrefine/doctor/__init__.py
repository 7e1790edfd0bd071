"""`qrefine doctor`: checks what a run needs before it is started, and says how to fix what is wrong."""
