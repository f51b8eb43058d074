-- Which app of which environment has which published TCP port, and what it was given for. observed is null until the runtime told.
create table ports (
    published bigint not null primary key,
    team_id text not null references teams (id),
    placement_id text not null references placements (id) on delete cascade,
    process text not null,
    port bigint not null,
    observed text,
    created_at bigint not null
);
create index ports_by_placement on ports (placement_id);
