"""How calls reach the server: channel, retries, pages and watches."""
