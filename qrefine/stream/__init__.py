"""The only package that imports ray: shards through actor pools into a table."""
