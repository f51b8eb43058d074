-- What the garbage reconciler has to remember.

-- Images in the platform's registry that nothing needs any more: listed in the transaction that takes away the last row that
-- needed them, and until the registry has deleted them. deleting_at is set while that may be under way.
create table doomed_images (
    repository text not null,
    digest text not null,
    created_at bigint not null,
    deleting_at bigint,
    primary key (repository, digest)
);

-- Since when no route has led to the host; null while one does.
alter table certificates add column unrouted_at bigint;

-- Whether any team has some content is asked before its bytes go.
create index blobs_by_hash on blobs (sha256);
