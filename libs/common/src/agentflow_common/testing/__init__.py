"""Real servers, fake clocks and event builders for tests."""
