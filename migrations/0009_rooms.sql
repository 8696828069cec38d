-- Rooms of WebSockets that somebody is in, by host; as of a second ago. Whoever
-- reads it looks at deploy.nodes as well: a host that is gone takes its rooms
-- along. Worth nothing after a crash, hence unlogged.

create unlogged table deploy.rooms (
    node uuid not null,
    component text not null,
    room text not null,

    constraint rooms_pkey primary key (component, room, node)
);

create index rooms_node_idx on deploy.rooms (node);
