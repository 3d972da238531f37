"""Whether another run is accepted, by what the schedulers have in hand."""
