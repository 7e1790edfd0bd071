"""Processing of samples from source bytes to rows, and runs over shards; no Ray here.

`process` decodes samples and runs the stages, `write` writes parts; a `Run` plans, commits and retries lost rows.
An `Executor` turns plans into records of parts, on Ray or in this process.
"""
