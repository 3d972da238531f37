-- What the trace service derives from the rows of `events` (stream AF_EVENTS). It writes these tables itself, after the events.
-- `runs` and `steps` have one row for each key, and the newest one counts: read them with FINAL, which does not depend on
-- merges and leaves out the rows that are gone. The key begins with the time, so that a merge at reading concerns new rows.
CREATE TABLE IF NOT EXISTS runs
(
    org LowCardinality(String),
    submitted_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    run String CODEC(ZSTD(1)),
    workflow LowCardinality(String),
    version UInt32,
    status LowCardinality(String),
    tags Map(LowCardinality(String), String),
    parent_run String CODEC(ZSTD(1)),
    parent_step String CODEC(ZSTD(1)),
    parent_attempt UInt32,
    origin_kind LowCardinality(String),
    origin_run String CODEC(ZSTD(1)),
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    finished_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_ms UInt64,
    cost_nano Int64,
    input_tokens UInt64,
    output_tokens UInt64,
    steps UInt32,
    attempts UInt32,
    failed_attempts UInt32,
    retries UInt32,
    providers Array(LowCardinality(String)),
    models Array(LowCardinality(String)),
    prompts Array(LowCardinality(String)),
    error_type LowCardinality(String),
    error String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    submitted_seq UInt64 CODEC(Delta, ZSTD(1)),
    last_seq UInt64 CODEC(Delta, ZSTD(1)),
    gone UInt8,
    INDEX by_run run TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(last_seq, gone)
ORDER BY (org, submitted_at, run);

-- One row for each attempt. submitted_at is that of the run. Attempt 0 is a step that was never offered to a worker.
CREATE TABLE IF NOT EXISTS steps
(
    org LowCardinality(String),
    submitted_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    run String CODEC(ZSTD(1)),
    step String CODEC(ZSTD(1)),
    attempt UInt32,
    workflow LowCardinality(String),
    version UInt32,
    node LowCardinality(String),
    kind LowCardinality(String),
    status LowCardinality(String),
    worker LowCardinality(String),
    lane LowCardinality(String),
    scheduled_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    finished_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    wait_ms UInt64,
    duration_ms Float64,
    cost_nano Int64,
    input_tokens UInt64,
    output_tokens UInt64,
    provider LowCardinality(String),
    model LowCardinality(String),
    prompt LowCardinality(String),
    cache_hit Bool,
    finish_reason LowCardinality(String),
    error_type LowCardinality(String),
    error String CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(1)),
    last_seq UInt64 CODEC(Delta, ZSTD(1)),
    gone UInt8,
    INDEX by_run run TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(last_seq, gone)
ORDER BY (org, submitted_at, run, step, attempt);

-- One row for each provider call, and one for each fact that spends. Both are only added to, in the order of the log and a
-- whole message at a time, so their newest sequence says what they have. The partition is that of `events`.
CREATE TABLE IF NOT EXISTS llm_calls
(
    stream LowCardinality(String),
    stream_seq UInt64 CODEC(Delta, ZSTD(1)),
    part UInt32,
    call UInt32,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    org LowCardinality(String),
    run String CODEC(ZSTD(1)),
    workflow LowCardinality(String),
    version UInt32,
    step String CODEC(ZSTD(1)),
    node LowCardinality(String),
    attempt UInt32,
    provider LowCardinality(String),
    model LowCardinality(String),
    prompt LowCardinality(String),
    ok Bool,
    status UInt32,
    error_type LowCardinality(String),
    finish_reason LowCardinality(String),
    input_tokens UInt64,
    output_tokens UInt64,
    cost_nano Int64,
    latency_ms UInt64,
    INDEX by_run run TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY (stream, intDiv(stream_seq, 10000000))
ORDER BY (org, at, stream_seq, part, call);

CREATE TABLE IF NOT EXISTS costs
(
    stream LowCardinality(String),
    stream_seq UInt64 CODEC(Delta, ZSTD(1)),
    part UInt32,
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    org LowCardinality(String),
    run String CODEC(ZSTD(1)),
    workflow LowCardinality(String),
    version UInt32,
    step String CODEC(ZSTD(1)),
    node LowCardinality(String),
    attempt UInt32,
    kind LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    prompt LowCardinality(String),
    cache_hit Bool,
    input_tokens UInt64,
    output_tokens UInt64,
    cost_nano Int64,
    INDEX by_run run TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY (stream, intDiv(stream_seq, 10000000))
ORDER BY (org, at, stream_seq, part);

-- How far the tables above have come. generation: which reading of the log the events come from. No row: not derived yet.
CREATE TABLE IF NOT EXISTS derived_positions
(
    stream LowCardinality(String),
    generation String,
    seq UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (stream, generation);
