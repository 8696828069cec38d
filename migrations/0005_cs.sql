-- Schema cs: the live chat of the customer service.
--
-- Messages of a session are numbered 1, 2, 3 … without holes, so that a client
-- can tell what it missed. The number is not a sequence, which would leave
-- holes and show numbers out of order. Whoever stores a message first runs
--   update cs.sessions set last_seq = last_seq + 1, last_activity_at = now()
--   where id = $1 returning last_seq
-- and inserts with that number in the same transaction: the row lock orders the
-- writers of a session, and a rollback gives the number back.

create schema cs;

create table cs.sessions (
    id uuid constraint sessions_pkey primary key default gen_random_uuid(),
    guest_name varchar(255) not null,
    guest_email public.citext not null
        constraint sessions_guest_email_length_check
        check (char_length(guest_email::text) <= 255),
    school varchar(255),
    class varchar(100),
    status varchar(20) not null default 'open'
        constraint sessions_status_check check (status in ('open', 'closed')),
    session_token_hash bytea not null,      -- SHA-256 of the guest's token
    last_seq bigint not null default 0      -- newest message = number of messages
        constraint sessions_last_seq_check check (last_seq >= 0),
    close_reason varchar(20)
        constraint sessions_close_reason_check
        check (close_reason in ('closed_by_admin', 'idle_timeout')),
    closed_at timestamptz,
    last_activity_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),

    constraint sessions_closed_fields_check
        check ((closed_at is not null) = (status = 'closed')
               and (close_reason is not null) = (status = 'closed'))
);

create index sessions_status_idx on cs.sessions (status);
create index sessions_created_at_idx on cs.sessions (created_at desc);
create index sessions_guest_email_idx on cs.sessions (guest_email);
create index sessions_updated_at_idx on cs.sessions (updated_at desc);
create index sessions_open_last_activity_at_idx on cs.sessions (last_activity_at)
    where status = 'open';

create trigger set_updated_at before update on cs.sessions
    for each row execute function public.set_updated_at();


-- Never updated, never deleted one by one: nobody has the right.
create table cs.messages (
    id uuid constraint messages_pkey primary key default gen_random_uuid(),
    session_id uuid not null references cs.sessions (id) on delete cascade,
    seq bigint not null constraint messages_seq_check check (seq >= 1),
    sender_type varchar(20) not null
        constraint messages_sender_type_check check (sender_type in ('guest', 'admin', 'system')),
    sender_id uuid references public.users (id) on delete set null,
    -- Stored as sent, measured trimmed. The list is what Unicode calls white
    -- space, which is what Rust's trim() takes off; a shorter one would refuse
    -- here what was accepted there.
    message text not null
        constraint messages_message_length_check
        check (char_length(btrim(message, U&' \0009\000A\000B\000C\000D\0085\00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A\2028\2029\202F\205F\3000'))
               between 1 and 1000),
    client_message_id uuid,
    created_at timestamptz not null default now(),

    constraint messages_session_seq_key unique (session_id, seq),
    constraint messages_client_message_id_key unique (session_id, client_message_id),
    constraint messages_sender_id_check check (sender_id is null or sender_type = 'admin')
);

create index messages_created_at_idx on cs.messages (created_at desc);
create index messages_sender_id_idx on cs.messages (sender_id);


create table cs.admin_assignments (
    id uuid constraint admin_assignments_pkey primary key default gen_random_uuid(),
    session_id uuid not null constraint admin_assignments_session_id_key unique
        references cs.sessions (id) on delete cascade,
    admin_id uuid not null references public.users (id) on delete cascade,
    assigned_at timestamptz not null default now()
);

create index admin_assignments_admin_id_idx on cs.admin_assignments (admin_id);
