"""Every call of the API as data: the request that is sent and how its answer is read."""
