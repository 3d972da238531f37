"""What runs in the peers' own environment: one program an engine, none imports anything of ours but `protocol`."""
