"""One sample from its source's bytes to its row, and a run over many: no Ray here.

`process` decodes samples and runs the stages, `write` makes parts of them; a `Run` plans, commits and reconciles.
An `Executor` stands between: it turns plans into the records of parts, on Ray or in this process.
"""
