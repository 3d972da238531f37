-- What was done to budgets, kept when the budget itself is gone. A row is written in the transaction of its change and
-- then told to the audit trail; `published` says that the trail has it.
CREATE TABLE budget_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org text NOT NULL,
    budget text NOT NULL,
    action text NOT NULL CHECK (action IN ('budget.created', 'budget.changed', 'budget.deleted')),
    detail text NOT NULL,
    actor text NOT NULL,
    at bigint NOT NULL, -- ms since the epoch
    published boolean NOT NULL DEFAULT false
);
CREATE INDEX budget_changes_to_tell ON budget_changes (org, id) WHERE NOT published;
