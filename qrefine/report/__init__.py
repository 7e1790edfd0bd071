"""The HTML report: one self-contained file made from the table alone, in bounded memory.

`scan` reads, `statistics` counts, `gallery` chooses what to show, `pictures` draws it, `charts` and `page` write
it down. No module here imports torch or ray.
"""
