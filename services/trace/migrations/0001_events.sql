-- One row for each sequence of each stream; the log is the truth, these rows can be dropped and rebuilt.
-- ORDER BY serves the reading of one run. The partition (ten million sequences of one stream) makes min, max and count
-- per stream a look at part metadata, and an insert that stays inside one partition is one atomic part.
CREATE TABLE IF NOT EXISTS events
(
    stream LowCardinality(String),
    stream_seq UInt64 CODEC(Delta, ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    org LowCardinality(String),
    run String CODEC(ZSTD(1)),
    type LowCardinality(String),
    subject String CODEC(ZSTD(1)),
    seen UInt64 CODEC(Delta, ZSTD(1)),
    step String CODEC(ZSTD(1)),
    attempt UInt32,
    kind LowCardinality(String),
    status LowCardinality(String),
    workflow LowCardinality(String),
    version UInt32,
    worker LowCardinality(String),
    trace_id String CODEC(ZSTD(1)),
    provider LowCardinality(String),
    model LowCardinality(String),
    prompt LowCardinality(String),
    input_tokens UInt64,
    output_tokens UInt64,
    cost_nano Int64,
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_ms Float64,
    cache_hit Bool,
    redactions Map(LowCardinality(String), UInt64),
    error_type LowCardinality(String),
    error String CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY (stream, intDiv(stream_seq, 10000000))
ORDER BY (org, run, stream, stream_seq);

-- Which log the rows of a stream were read from: when the log is made anew, its rows are read anew.
CREATE TABLE IF NOT EXISTS log_identity
(
    stream String,
    identity String,
    written_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (stream, written_at);
