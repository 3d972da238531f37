-- An insert carries the sequence that it begins with as its token, and a token takes effect once. With the condition of the insert
-- (store.py) two writers can't both write after the same row. The window is the number of newest inserts that are remembered: more
-- than a writer makes while another one's insert is running.
ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 1000;
