-- Forks and retries of a run, which every answer about it lists: found without reading the whole list of runs.
CREATE INDEX runs_derived
    ON runs (org, substring(tags FROM '"agentflow\.origin":"([^"]*)"'), submitted_at DESC, run DESC)
    WHERE tags LIKE '%"agentflow.origin"%';
