"""Which scheduler serves which shard, and how it recovers what the shard holds."""
