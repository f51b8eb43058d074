-- The state of one Panda installation. Times are milliseconds since the Unix epoch. JSON lies in TEXT.
-- Every table that belongs to a team carries team_id, so that every look-up can be made within it.

create table settings (
    key text not null primary key,
    value text not null
);
-- The oldest schema whose program still works with this one. A migration that only adds leaves it; one that takes away raises it.
insert into settings (key, value) values ('schema_compatible_from', '1');

create table data_keys (
    id text not null primary key,
    wrapped blob not null,
    created_at bigint not null
);

create table claims (
    id bigint not null primary key check (id = 1),
    token_hash text not null,
    created_at bigint not null,
    used_at bigint
);

create table users (
    id text not null primary key,
    email text not null unique,
    password_hash text not null,
    created_at bigint not null,
    disabled_at bigint
);

create table teams (
    id text not null primary key,
    name text not null unique,
    security text not null default 'baseline',
    created_at bigint not null
);

create table memberships (
    team_id text not null references teams (id) on delete cascade,
    user_id text not null references users (id) on delete cascade,
    role text not null,
    created_at bigint not null,
    primary key (team_id, user_id)
);
create index memberships_by_user on memberships (user_id);

create table sessions (
    id text not null primary key,
    user_id text not null references users (id) on delete cascade,
    team_id text not null references teams (id) on delete cascade,
    secret_hash text not null unique,
    user_agent text not null,
    created_at bigint not null,
    last_seen_at bigint not null,
    expires_at bigint not null
);
create index sessions_by_user on sessions (user_id);

create table tokens (
    id text not null primary key,
    team_id text not null references teams (id) on delete cascade,
    user_id text not null references users (id) on delete cascade,
    name text not null,
    scope text not null,
    secret_hash text not null unique,
    created_at bigint not null,
    expires_at bigint not null,
    last_used_at bigint
);
create index tokens_by_team on tokens (team_id, id);

create table device_codes (
    id text not null primary key,
    device_hash text not null unique,
    user_code text not null unique,
    client_name text not null,
    state text not null,
    user_id text references users (id) on delete cascade,
    team_id text references teams (id) on delete cascade,
    created_at bigint not null,
    expires_at bigint not null,
    polled_at bigint
);

create table rate_windows (
    key text not null primary key,
    started_at bigint not null,
    count bigint not null
);

create table projects (
    id text not null primary key,
    team_id text not null references teams (id),
    name text not null,
    created_at bigint not null,
    unique (team_id, name)
);

create table environments (
    id text not null primary key,
    team_id text not null references teams (id),
    project_id text not null references projects (id),
    name text not null,
    created_at bigint not null,
    unique (project_id, name)
);

create table apps (
    id text not null primary key,
    team_id text not null references teams (id),
    project_id text not null references projects (id),
    name text not null,
    created_at bigint not null,
    unique (team_id, name)
);
create index apps_by_project on apps (project_id);

-- An app in an environment: what should run there and what was seen.
create table placements (
    id text not null primary key,
    team_id text not null references teams (id),
    app_id text not null references apps (id) on delete cascade,
    environment_id text not null references environments (id),
    host text not null unique,
    generation bigint not null default 0,
    converged_generation bigint not null default 0,
    desired_release_id text,
    -- Counts restarts of the desired release, so that a restart makes new instances of the same release.
    desired_revision bigint not null default 0,
    last_good_release_id text,
    last_good_revision bigint not null default 0,
    env_version bigint not null default 0,
    observed text,
    observed_at bigint,
    deleting_at bigint,
    created_at bigint not null,
    unique (app_id, environment_id)
);
create index placements_by_team on placements (team_id, id);
create index placements_by_environment on placements (environment_id);

create table formations (
    placement_id text not null references placements (id) on delete cascade,
    process text not null,
    replicas bigint not null,
    cpu_millis bigint not null,
    memory_bytes bigint not null,
    primary key (placement_id, process)
);

-- Append-only. The env at version n is, for each key, the newest row of version n or less; sealed is null where it was unset.
create table env_versions (
    placement_id text not null references placements (id) on delete cascade,
    team_id text not null,
    version bigint not null,
    key text not null,
    sealed blob,
    secret boolean not null,
    fingerprint text not null,
    actor text not null,
    at bigint not null,
    primary key (placement_id, version, key)
);
create index env_versions_by_key on env_versions (placement_id, key, version);

create table blobs (
    team_id text not null references teams (id),
    sha256 text not null,
    size bigint not null,
    created_at bigint not null,
    used_at bigint not null,
    primary key (team_id, sha256)
);

create table trees (
    team_id text not null references teams (id),
    tree text not null,
    size bigint not null,
    files bigint not null,
    created_at bigint not null,
    used_at bigint not null,
    primary key (team_id, tree)
);

create table builds (
    id text not null primary key,
    team_id text not null references teams (id),
    placement_id text not null references placements (id) on delete cascade,
    deployment_id text not null,
    state text not null,
    failure text,
    build_key text not null,
    plan text,
    processes text,
    repository text,
    digest text,
    created_at bigint not null,
    started_at bigint,
    finished_at bigint
);
create index builds_by_key on builds (placement_id, build_key, state);
create index builds_by_deployment on builds (deployment_id);

create table releases (
    id text not null primary key,
    team_id text not null references teams (id),
    placement_id text not null references placements (id) on delete cascade,
    number bigint not null,
    repository text not null,
    digest text not null,
    own_registry boolean not null,
    built_here boolean not null,
    config text not null,
    source text not null,
    env_version bigint not null,
    build_id text,
    copy_of bigint,
    actor text not null,
    created_at bigint not null,
    unique (placement_id, number)
);

create table deployments (
    id text not null primary key,
    team_id text not null references teams (id),
    placement_id text not null references placements (id) on delete cascade,
    -- 1, 2, 3, … within the placement: which of two is newer must not hang on the clocks of two servers.
    sequence bigint not null,
    state text not null,
    detail text not null,
    active boolean not null,
    trigger_kind text not null,
    source text not null,
    request text not null,
    env_version bigint not null,
    build_id text,
    release_id text,
    -- The generation of the placement that this deployment made; observed truth is compared with it.
    generation bigint,
    revision bigint not null default 0,
    task_id text,
    idempotency_key text,
    actor text not null,
    cancel_requested boolean not null default false,
    created_at bigint not null,
    phase_started_at bigint not null,
    live_at bigint,
    finished_at bigint,
    unique (placement_id, idempotency_key),
    unique (placement_id, sequence)
);
create index deployments_active on deployments (active, placement_id);

-- What people watch while a deployment goes on.
create table deployment_progress (
    id integer primary key autoincrement,
    deployment_id text not null references deployments (id) on delete cascade,
    kind text not null,
    body text not null,
    at bigint not null
);
create index deployment_progress_by_deployment on deployment_progress (deployment_id, id);

create table domains (
    id text not null primary key,
    team_id text not null references teams (id),
    placement_id text not null references placements (id) on delete cascade,
    host text not null,
    path text not null,
    proof_token text not null,
    verified_at bigint,
    created_at bigint not null,
    unique (team_id, host, path)
);
create index domains_by_placement on domains (placement_id);
-- Anybody may claim a host, only one team can prove it.
create unique index domains_verified on domains (host, path) where verified_at is not null;

create table certificates (
    host text not null primary key,
    state text not null,
    detail text not null,
    chain_pem text,
    sealed_key blob,
    not_after bigint,
    attempts bigint not null default 0,
    next_attempt_at bigint not null,
    challenge_token text,
    challenge_answer text,
    created_at bigint not null
);

create table tasks (
    id text not null primary key,
    team_id text not null references teams (id),
    placement_id text not null references placements (id) on delete cascade,
    release_id text not null,
    command text not null,
    tty boolean not null,
    timeout_s bigint not null,
    state text not null,
    exit_code bigint,
    reason text,
    actor text not null,
    created_at bigint not null,
    finished_at bigint
);
create index tasks_by_placement on tasks (placement_id, id);

create table events (
    id integer primary key autoincrement,
    team_id text references teams (id),
    app_id text,
    kind text not null,
    actor text not null,
    text text not null,
    data text not null,
    at bigint not null
);
create index events_by_team on events (team_id, id);
create index events_by_app on events (app_id, id);

create table jobs (
    id text not null primary key,
    kind text not null,
    key text not null,
    payload text not null,
    state text not null,
    run_at bigint not null,
    attempt bigint not null default 0,
    lease_owner text,
    lease_until bigint,
    cancel_requested boolean not null default false,
    last_error text,
    created_at bigint not null,
    finished_at bigint
);
create index jobs_to_run on jobs (state, run_at);
create index jobs_by_key on jobs (key, state);
-- One at a time per key, whatever the claim's query thinks.
create unique index jobs_running_by_key on jobs (key) where state = 'running';

-- What the named steps of a job gave, so that a second run needn't do them again.
create table job_outputs (
    job_id text not null references jobs (id) on delete cascade,
    step text not null,
    output text not null,
    at bigint not null,
    primary key (job_id, step)
);

create table leases (
    name text not null primary key,
    owner text not null,
    until bigint not null
);
