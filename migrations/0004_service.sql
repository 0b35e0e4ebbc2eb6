-- What the service keeps for itself.

-- How far the store has come: one row.
create table progress (
    only             integer primary key check (only = 1),
    -- The sequence of the last fact; sequences are never used again, whatever is purged.
    sequence         integer not null check (sequence >= 0),
    -- The latest `recorded_at` of all facts.
    recorded_ms      integer,
    -- The last moment at which the service is known to have run: what it could not hear begins there.
    alive_ms         integer,
    -- The last numbers that were given; they too are never used again, as keyframes speak of them.
    nodes            integer not null check (nodes >= 0),
    configs          integer not null check (configs >= 0),
    attribute_sets   integer not null check (attribute_sets >= 0),
    -- Rows of the tables that grow, so that nobody has to count them.
    reports_closed   integer not null check (reports_closed >= 0),
    words            integer not null check (words >= 0),
    events           integer not null check (events >= 0)
) strict;

insert into progress (only, sequence, recorded_ms, alive_ms, nodes, configs, attribute_sets, reports_closed, words, events)
values (1, 0, null, null, 0, 0, 0, 0, 0, 0);

-- The state of the whole fleet after the fact of this sequence, so that the past can be told from here. It can be
-- dropped at any time: it holds nothing that facts do not.
create table keyframe (
    sequence  integer primary key,
    -- When it was taken. Facts that come later are recorded after it, but for a few minutes.
    at_ms     integer not null,
    -- The format of `state`. One that is not ours is passed over.
    format    integer not null,
    -- Packed by the board, compressed with zstd, and its length before.
    state     blob    not null,
    state_len integer not null check (state_len >= 0),
    -- The open runs of that moment, packed by the store, compressed with zstd, and their length before; and the last
    -- fact that they know of, which may be later.
    runs_sequence integer not null,
    runs      blob    not null,
    runs_len  integer not null check (runs_len >= 0),
    check (runs_sequence >= sequence)
) strict;

create index keyframe_at on keyframe (at_ms);

-- Answers to requests with an `Idempotency-Key`: a repeat gets the same answer and changes nothing. Written in the
-- transaction of the facts, so that there is never one without the other.
create table remembered (
    key            text    primary key check (length(key) between 1 and 128),
    request_digest text    not null,
    status         integer not null check (status between 100 and 599),
    body           text    not null,
    at_ms          integer not null
) strict, without rowid;

create index remembered_at on remembered (at_ms, key);

-- Recordings that were imported. One is known by the digest of its first record; a repeat goes on after the lines that
-- were taken, if the digest of these lines is still the same.
create table import_stream (
    first_digest     text    primary key check (first_digest <> ''),
    control_plane_id integer not null references control_plane (id),
    lines            integer not null check (lines > 0),
    prefix_digest    text    not null check (prefix_digest <> ''),
    taken_ms         integer not null
) strict, without rowid;
