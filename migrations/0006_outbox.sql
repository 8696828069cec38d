-- The outbox: events on their way to Redis.
--
-- An event is a row written in the transaction of the change that it tells of,
-- so both are kept or both are lost. After the commit the host's relay sends it
-- and sets published_at. Id order is the order of sending; within one key it is
-- the order of commits.

create table public.outbox (
    id bigint generated always as identity (cache 1)
        constraint outbox_pkey primary key,
    event_id uuid not null default gen_random_uuid()
        constraint outbox_event_id_key unique,
    component text not null,                -- who emitted it
    channel text not null,
    key text not null,                      -- what changed; orders the sending
    payload jsonb not null
        constraint outbox_payload_size_check check (octet_length(payload::text) <= 65536),
    created_at timestamptz not null default now(),
    published_at timestamptz,               -- null until Redis has taken it
    attempts int not null default 0,
    last_error text
);

create index outbox_unpublished_id_idx on public.outbox (id) where published_at is null;
create index outbox_unpublished_key_id_idx on public.outbox (key, id) where published_at is null;

-- Wakes the relay at commit.
create function public.notify_outbox() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    notify shema_outbox;
    return null;
end
$$;

create trigger notify_outbox after insert on public.outbox
    for each statement execute function public.notify_outbox();


-- Why a secret: an event has to be written in the component's own transaction,
-- so in a session that is logged in as the component's role. A right to insert
-- here, or a plain function to do so, would be there for the component's SQL as
-- well, and with it any event on any channel. The host knows this secret, a
-- component cannot read it, so only what passed the host's check of the
-- component's channels gets in. The host passes it as a bound parameter; in the
-- text of a statement it would show in pg_stat_activity and the server's log.
create table public.outbox_secret (
    secret text not null
);

create unique index outbox_secret_single_row on public.outbox_secret ((true));

insert into public.outbox_secret (secret)
values (gen_random_uuid()::text || gen_random_uuid()::text);

create function public.emit_event(
    secret text, event_id uuid, channel text, key text, payload jsonb
) returns void
language plpgsql
security definer
set search_path = pg_catalog, public, pg_temp
as $$
declare
    -- session_user is who logged in; current_user is the owner of this function.
    emitter constant text := substring(session_user from '^shema_(.+)$');
begin
    -- Digests are compared, so that the time it takes tells nothing of the
    -- secret. Null, or a table without its row, counts as different.
    if (select sha256(convert_to(s.secret, 'UTF8'))
               = sha256(convert_to(emit_event.secret, 'UTF8'))
        from public.outbox_secret s) is not true then
        raise exception 'events are emitted by the host, not by SQL of a component'
            using errcode = 'insufficient_privilege';
    end if;
    if emitter is null then
        raise exception 'events are emitted in a session of a component, not of "%"', session_user
            using errcode = 'insufficient_privilege';
    end if;
    insert into public.outbox (event_id, component, channel, key, payload)
    values (emit_event.event_id, emitter, emit_event.channel, emit_event.key, emit_event.payload);
end
$$;
