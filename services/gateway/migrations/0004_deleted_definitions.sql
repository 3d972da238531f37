-- Definitions that were deleted: their number is not given to other content, so that `name@version` never changes its
-- meaning. Times are ms since the epoch.

CREATE TABLE deleted_definitions (
    org         text NOT NULL REFERENCES orgs (id),
    name        text NOT NULL,
    version     integer NOT NULL,
    digest      text NOT NULL,
    deleted_at  bigint NOT NULL,
    deleted_by  text NOT NULL,
    PRIMARY KEY (org, name, version)
);
