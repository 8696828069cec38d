-- Schema deploy: which versions of the components there are and which are live,
-- for all hosts that share this database. No component's role may look into it.

create schema deploy;
revoke all on schema deploy from public;

-- Rises with each change of deploy.components, over all of them.
create sequence deploy.generation;


-- An artifact that was deployed, or refused. Its bytes are compressed by no one:
-- they are read whole and once.
create table deploy.artifacts (
    component text not null,
    version text not null                   -- first 12 hex digits of the digest
        constraint artifacts_version_check check (version ~ '^[0-9a-f]{12}$'),
    digest text not null,                   -- SHA-256, hex
    wasm bytea,                             -- null if it was refused
    signature bytea,                        -- Ed25519, over the bytes
    mounts text[],                          -- null: those of host.toml
    size_bytes bigint not null,
    compile_ms double precision not null default 0,
    deployed_at timestamptz not null default now(),
    deployed_by text not null,
    activated_at timestamptz,               -- when it was live or on trial last
    refusal text,                           -- why it was refused
    wanted_at timestamptz,                  -- asks every host to prepare it
    -- Under the grants of today, even if it is in memory under those of before.
    wanted_fresh boolean not null default true,

    constraint artifacts_pkey primary key (component, version),
    constraint artifacts_wasm_or_refusal check ((wasm is null) = (refusal is not null))
);

alter table deploy.artifacts alter column wasm set storage external;


-- The live table: one row per component. Whoever changes it holds the lock of the
-- table (an advisory one), takes the next generation and notifies shema_deploy.
create table deploy.components (
    name text constraint components_pkey primary key,
    mounts text[] not null default '{}',
    live text,
    canary text,
    weight smallint not null default 0      -- percent of the clients
        constraint components_weight_check check (weight between 0 and 100),
    shadow boolean not null default false,  -- the canary answers nobody
    history text[] not null default '{}',   -- versions that were live, oldest first
    deleted boolean not null default false,
    -- The artifact that the directory of components held at the last start.
    seeded text,
    changed_by uuid,                        -- the host that did so last
    generation bigint not null default nextval('deploy.generation')
);


-- Hosts of the cluster, one row per process. One that has not been seen for some
-- seconds is fenced: nobody waits for it, and it answers nothing until it has
-- caught up.
create table deploy.nodes (
    id uuid constraint nodes_pkey primary key,
    public text not null,
    control text not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    ready boolean not null default false,   -- has caught up
    generation bigint not null default 0,   -- has applied everything up to here
    versions jsonb not null default '{}'    -- component -> live version
);


-- What a host has compiled and probed, or why it could not.
create table deploy.prepared (
    node uuid not null references deploy.nodes (id) on delete cascade,
    component text not null,
    version text not null,
    problem text,

    constraint prepared_pkey primary key (component, version, node)
);

create index prepared_node_idx on deploy.prepared (node);


-- Who changed what, when, from where. Only ever added to.
create table deploy.audit (
    id bigint generated always as identity constraint audit_pkey primary key,
    at timestamptz not null default now(),
    action text not null,                   -- deploy, refuse, activate, rollback, delete
    component text not null,
    version text,
    digest text,
    actor text not null,
    origin text not null,                   -- address that the request came from
    node uuid not null,
    detail text
);

create index audit_component_at_idx on deploy.audit (component, at);
