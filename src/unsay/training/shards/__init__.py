"""Pairs at web scale: shards that hold all a training step reads, made once by many machines, streamed by many.

`contents` is what lies in a prepared shard, `preparing` makes them (`unsay prepare pairs`), `streaming` trains on them.
"""
