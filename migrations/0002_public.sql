-- Schema public: users, their profiles and their login sessions.
--
-- How to read these files
--   * Constraints, triggers and indexes are named after the rule that they
--     keep, because the components match on the names: do not rename one
--     without searching for it in components/.
--   * Each trigger stands below its table. Rights are all in 0007_grants.sql.
--   * Functions that need more rights than their caller are `security definer`
--     with a fixed search_path that ends in pg_temp, so that nothing a caller
--     makes can stand in for what they name.
--
-- SQLSTATEs of our own (class SH); whatever else fails has PostgreSQL's
--   SH001  too many pending bookings       booking.check_pending_bookings_limit
--   SH002  the class has no free seat      course.enforce_class_capacity
--   SH003  the user lacks the needed role  public.enforce_profile_role_instructor,
--                                          public.enforce_profile_role_student,
--                                          course.enforce_instructor_role
-- Beware: refusing to delete a row that others refer to is 23503 up to
-- PostgreSQL 17 and 23001 from 18 on; the constraint's name is the same.

-- Emails compare without regard to case (citext); exclusion constraints need
-- "equal" in a gist index (btree_gist). Made before the default below, because
-- their functions are the operators' and must stay executable for everybody.
create extension if not exists citext with schema public;
create extension if not exists btree_gist with schema public;

-- Nobody but the owner runs a function unless 0007_grants.sql says so. This
-- needs to come before the first `create function`.
alter default privileges revoke execute on functions from public;

-- Whoever can create in public could place functions under names that others
-- look up there. PostgreSQL 15 has this by default; on 14 public belongs to the
-- superuser, and the revoke of anybody else is only a warning. So look.
revoke create on schema public from public;

do $$
begin
    if has_schema_privilege('shema_course', 'public', 'create') then
        raise exception 'Everybody may create objects in schema public, and the database login "%" cannot change that.',
            current_user
            using errcode = 'insufficient_privilege',
                  hint = format('Let a superuser run in this database: alter schema public owner to %I.',
                                current_user);
    end if;
end
$$;


-- Every table with updated_at has a trigger of this name.
create function public.set_updated_at() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    new.updated_at := now();
    return new;
end
$$;


create type public.user_role as enum ('admin', 'instructor', 'student');

create table public.users (
    id uuid constraint users_pkey primary key default gen_random_uuid(),
    full_name varchar(255) not null,
    email public.citext not null,
    firebase_uid text,
    password_hash text,
    auth_provider varchar(20) not null default 'password'
        constraint users_auth_provider_check
        check (auth_provider in ('firebase', 'password', 'course_registration', 'admin')),
    provider text,                          -- Firebase's sign-in provider
    email_verified boolean not null default false,
    role public.user_role not null,
    phone_number varchar(25),               -- not unique: families share numbers
    wa_number varchar(25),
    address text,
    avatar_url text,
    last_login_at timestamptz,
    deleted_at timestamptz,                 -- set = soft-deleted
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),

    -- course_registration and admin are people without a login of their own.
    constraint users_auth_method_check check (
        case auth_provider
            when 'firebase' then firebase_uid is not null
            when 'password' then password_hash is not null
            else true
        end),
    constraint users_admin_credential_check check (
        role <> 'admin'
        or firebase_uid is not null
        or (password_hash is not null and auth_provider = 'password'))
);

-- Deletion frees email and uid for a new row.
create unique index users_email_key on public.users (email) where deleted_at is null;
create unique index users_firebase_uid_key on public.users (firebase_uid) where deleted_at is null;
create index users_role_idx on public.users (role);
create index users_auth_provider_idx on public.users (auth_provider);
-- Not partial: a login also has to find a uid that only deleted users have.
create index users_firebase_uid_idx on public.users (firebase_uid);
create index users_created_at_idx on public.users (created_at);

create trigger set_updated_at before update on public.users
    for each row execute function public.set_updated_at();


-- Is this a living user of that role? For the role triggers below, which run it
-- as the owner. `for share` makes a change of role or a deletion under way
-- (which takes the row `for update`) finish first and then judges what it left;
-- and it lets none begin until this transaction has ended.
create function public.user_has_role(user_id uuid, wanted public.user_role) returns boolean
language plpgsql
set search_path = pg_catalog, public, pg_temp
as $$
begin
    perform
    from public.users u
    where u.id = user_has_role.user_id
      and u.role = user_has_role.wanted
      and u.deleted_at is null
    for share;
    return found;
end
$$;


create table public.instructor_profiles (
    user_id uuid constraint instructor_profiles_pkey primary key
        references public.users (id) on delete cascade,
    bio text,
    specialization text[] not null default '{}',
    experience_years smallint
        constraint instructor_profiles_experience_years_check
        check (experience_years between 0 and 80),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create trigger set_updated_at before update on public.instructor_profiles
    for each row execute function public.set_updated_at();

create function public.enforce_profile_role_instructor() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, public, pg_temp
as $$
begin
    if not public.user_has_role(new.user_id, 'instructor') then
        raise exception 'user % is not an instructor', new.user_id
            using errcode = 'SH003', constraint = 'enforce_profile_role_instructor';
    end if;
    return new;
end
$$;

create trigger enforce_profile_role_instructor
    before insert or update on public.instructor_profiles
    for each row execute function public.enforce_profile_role_instructor();


create table public.student_profiles (
    user_id uuid constraint student_profiles_pkey primary key
        references public.users (id) on delete cascade,
    place_of_birth varchar(100),
    date_of_birth date,
    school_origin varchar(100),
    current_grade varchar(50),
    parent_name varchar(255),
    parent_phone_number varchar(25),
    preferred_instruments text[] not null default '{}',
    experience_level varchar(20)
        constraint student_profiles_experience_level_check
        check (experience_level in ('beginner', 'intermediate', 'advanced')),
    learning_goal text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create trigger set_updated_at before update on public.student_profiles
    for each row execute function public.set_updated_at();

create function public.enforce_profile_role_student() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, public, pg_temp
as $$
begin
    if not public.user_has_role(new.user_id, 'student') then
        raise exception 'user % is not a student', new.user_id
            using errcode = 'SH003', constraint = 'enforce_profile_role_student';
    end if;
    return new;
end
$$;

create trigger enforce_profile_role_student
    before insert or update on public.student_profiles
    for each row execute function public.enforce_profile_role_student();


-- One row per login, so per device. It alone decides whether the login still
-- lives; what Redis has is a copy. Holds hashes (SHA-256), never a token.
create table public.refresh_sessions (
    id uuid constraint refresh_sessions_pkey primary key default gen_random_uuid(),
    user_id uuid not null references public.users (id) on delete cascade,
    token_hash bytea not null constraint refresh_sessions_token_hash_key unique,
    previous_token_hash bytea,              -- of the token that the current one replaced
    rotated_at timestamptz,                 -- start of the grace for the previous token
    expires_at timestamptz not null,        -- of the current token; each rotation moves it on
    revoked_at timestamptz,
    user_agent text,                        -- at login, cut to 512 characters
    created_at timestamptz not null default now()
);

create index refresh_sessions_unrevoked_user_id_idx on public.refresh_sessions (user_id)
    where revoked_at is null;
create index refresh_sessions_expires_at_idx on public.refresh_sessions (expires_at);

-- Once revoked, revoked for good, whatever a component gets wrong.
create function public.keep_revocation() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'session % is revoked for good', old.id
        using errcode = 'check_violation', constraint = 'refresh_sessions_revocation_is_final';
end
$$;

create trigger refresh_sessions_revocation_is_final
    before update of revoked_at on public.refresh_sessions
    for each row when (old.revoked_at is not null and new.revoked_at is null)
    execute function public.keep_revocation();

-- A new role ends the refreshing of the user's sessions, a deletion revokes
-- them: in the same transaction and for everybody who writes users, so that no
-- component can forget it. Owner's rights, because shema_admin has none here.
create function public.end_refresh_sessions() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, public, pg_temp
as $$
begin
    if old.deleted_at is null and new.deleted_at is not null then
        update public.refresh_sessions s
        set revoked_at = now()
        where s.user_id = new.id and s.revoked_at is null;
    end if;
    if old.role is distinct from new.role then
        update public.refresh_sessions s
        set expires_at = now()
        where s.user_id = new.id and s.revoked_at is null and s.expires_at > now();
    end if;
    return null;
end
$$;

create trigger end_refresh_sessions
    after update of role, deleted_at on public.users
    for each row execute function public.end_refresh_sessions();
