-- Facts that are no reports. Each is one row, with the columns that questions are asked of and the whole of it as the
-- domain writes it.

-- The word of a control plane. The ledger is derived from these, so they outlive all else.
create table word (
    sequence         integer primary key,
    at_ms            integer not null,
    recorded_ms      integer not null,
    control_plane_id integer not null references control_plane (id),
    source_id        integer not null references source (id),
    said             text    not null check (said in ('announced', 'frame', 'expected', 'notified', 'inferred', 'same')),
    -- The configuration that it names, where it names one.
    config_id        integer references config (id),
    -- The node that a frame was offered to.
    node_id          integer references node (id),
    body             text    not null check (json_valid(body))
) strict;

create index word_control_plane on word (control_plane_id, at_ms);
create index word_config on word (config_id) where config_id is not null;
create index word_node on word (node_id) where node_id is not null;

-- All other facts that are told one by one: the life of connections, sources that begin to listen or become blind,
-- declarations and retirements.
create table event (
    sequence         integer primary key,
    at_ms            integer not null,
    recorded_ms      integer not null,
    control_plane_id integer not null references control_plane (id),
    source_id        integer not null references source (id),
    kind             text    not null check (kind in ('connection', 'listening', 'declared', 'retired')),
    node_id          integer references node (id),
    body             text    not null check (json_valid(body))
) strict;

create index event_node on event (node_id, at_ms) where node_id is not null;
create index event_kind on event (kind, recorded_ms);

-- "The control plane was read" comes with every poll and says nothing new, as does "it did not answer": runs like those
-- of reports, but few, so that open and closed ones share a table. The open one of a control plane, source and kind is
-- the newest.
create table mark (
    id                 integer primary key,
    control_plane_id   integer not null references control_plane (id),
    source_id          integer not null references source (id),
    kind               text    not null check (kind in ('read', 'down')),
    from_ms            integer not null,
    until_ms           integer not null,
    from_stored_after  integer not null,
    until_stored_after integer not null,
    marks              integer not null check (marks > 0),
    opened_sequence    integer not null check (opened_sequence > 0),
    touched_sequence   integer not null check (touched_sequence >= opened_sequence),
    check (until_ms >= from_ms)
) strict;

create index mark_touched on mark (touched_sequence);

-- The pace that a source promised last for the nodes of a control plane: how long a gap may be inside a run.
create table pace (
    control_plane_id integer not null references control_plane (id),
    source_id        integer not null references source (id),
    interval_ms      integer not null check (interval_ms >= 0),
    primary key (control_plane_id, source_id)
) strict, without rowid;
