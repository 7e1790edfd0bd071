"""What a run will do and cost, before it is started: sample the corpus, measure on this machine, predict.

`sampling` draws, `measure` runs the stages on what was drawn, `predict` extrapolates with an interval. No Ray.
"""
