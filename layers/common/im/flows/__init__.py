"""Use cases: one verb a module, told its store, queue, pusher and clock."""
