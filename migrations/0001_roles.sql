-- The five database roles, one per component.
--
-- The host runs the SQL of a component in a session that is logged in as the
-- component's role, so PostgreSQL itself keeps each component to the rights of
-- 0007_grants.sql. The roles are born without login; the host gives them one,
-- with a secret that it generates.
--
-- Roles belong to the whole cluster, not to one database. Another database of
-- the cluster may be migrated at this very moment (the tests do that), so each
-- step takes "somebody else just did it" for an answer. There is no lock that
-- spans databases, hence the loops.
--
-- Needs a login that is a superuser or has CREATEROLE, unless the roles exist
-- and the login is a member of each.

do $$
declare
    component_roles constant text[] :=
        array['shema_admin', 'shema_auth', 'shema_booking', 'shema_course', 'shema_cs'];
    name text;
    attempt int;
    missing text[] := '{}';
    not_joined text[] := '{}';
    too_mighty text[];
begin
    foreach name in array component_roles loop
        attempt := 0;
        loop
            exit when exists (select from pg_roles where rolname = name);
            attempt := attempt + 1;
            begin
                execute format(
                    'create role %I nologin noinherit nosuperuser nocreatedb nocreaterole', name);
            exception
                when insufficient_privilege then
                    missing := missing || name;
                    exit;
                when duplicate_object or unique_violation or internal_error then
                    -- internal_error is "tuple concurrently updated". A try is
                    -- followed by a look, so 50 are plenty; the cap turns a
                    -- cluster in trouble into an error instead of a hang.
                    if attempt >= 50 then
                        raise;
                    end if;
                    perform pg_sleep(0.02 * random());
            end;
        end loop;
    end loop;

    if missing <> '{}' then
        raise exception 'The database login "%" may not create roles, and these are missing: %.',
            current_user, array_to_string(missing, ', ')
            using errcode = 'insufficient_privilege',
                  hint = format(
                      'Give it the right (alter role %I createrole), or create them (create role NAME noinherit) and grant each to it.',
                      current_user);
    end if;

    -- The owner of the tables is a member of each role. pg_has_role() cannot
    -- be asked: it says yes for every superuser. From PostgreSQL 16 on, making
    -- a role also makes a membership that may only administer it; set_option,
    -- which older versions do not have, tells the two apart.
    foreach name in array component_roles loop
        attempt := 0;
        loop
            exit when exists (
                select
                from pg_auth_members m
                where m.roleid = (select oid from pg_roles where rolname = name)
                  and m.member = (select oid from pg_roles where rolname = current_user)
                  and coalesce((to_jsonb(m) ->> 'set_option')::boolean, true));
            attempt := attempt + 1;
            begin
                execute format('grant %I to current_user', name);
            exception
                when insufficient_privilege then
                    not_joined := not_joined || name;
                    exit;
                when duplicate_object or unique_violation or internal_error then
                    if attempt >= 50 then
                        raise;
                    end if;
                    perform pg_sleep(0.02 * random());
            end;
        end loop;
    end loop;

    if not_joined <> '{}' then
        raise exception 'The database login "%" may not make itself a member of these roles: %.',
            current_user, array_to_string(not_joined, ', ')
            using errcode = 'insufficient_privilege',
                  hint = format('Let whoever created them run: grant %s to %I.',
                                array_to_string(not_joined, ', '), current_user);
    end if;

    -- A role of that name that was here before us could walk around every
    -- grant. "Member of nothing" matters most: SET ROLE would take it there.
    select array_agg(r.rolname order by r.rolname)
    into too_mighty
    from pg_roles r
    where r.rolname = any (component_roles)
      and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls
           or exists (select from pg_auth_members m where m.member = r.oid));

    if too_mighty is not null then
        raise exception 'These roles may do more than a component should: %.',
            array_to_string(too_mighty, ', ')
            using errcode = 'insufficient_privilege',
                  hint = 'A component role is no superuser, may not create roles or databases, replicate or bypass row security, and is a member of no other role.';
    end if;
end
$$;
