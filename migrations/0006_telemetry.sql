-- What gateways do, beside what they run: traffic as sums, and what nodes use.
--
-- Requests are not kept. What is told of them is written to a journal first, so that it is safe before it is answered;
-- once a minute is over, its sums are written as one row for each table and control plane, and the journal lets go of
-- it. Hours are made of their minutes and days of their hours. A row is a partition: old ones are dropped whole.

-- Whose telemetry it is. The first one is that of entries which nobody could be found for.
create table telemetry_scope (
    id            integer primary key,
    control_plane text not null unique check (length(control_plane) <= 63)
) strict;

insert into telemetry_scope (id, control_plane) values (0, '');

-- Names that come back with every request, told apart by kind: services, routes, consumers, applications, nodes.
create table telemetry_name (
    id       integer primary key,
    scope_id integer not null references telemetry_scope (id),
    kind     integer not null check (kind between 1 and 6),
    name     text    not null check (length(name) between 1 and 256),
    unique (scope_id, kind, name)
) strict;

-- What was told and is not in sums yet, packed: one row for each commit.
create table telemetry_journal (
    id    integer primary key,
    at_ms integer not null,
    rows  blob    not null
) strict;

-- Digests of bodies, sixteen bytes each: a sender that got no answer sends the same body again, for up to a minute.
create table telemetry_body (
    id      integer primary key,
    at_ms   integer not null,
    digests blob    not null check (length(digests) % 16 = 0)
) strict;

-- Sums of one step (60, 3600 or 86400 seconds) of one table: all rows of the table, and what they add up to.
create table telemetry_sums (
    id        integer primary key,
    kind      integer not null check (kind between 0 and 4),
    step_s    integer not null check (step_s in (60, 3600, 86400)),
    at_s      integer not null check (at_s % step_s = 0),
    scope_id  integer not null references telemetry_scope (id),
    whole     blob    not null,
    cells     blob    not null,
    unique (kind, step_s, at_s, scope_id)
) strict;

-- Up to where sums are made: minutes, hours and days before these are complete. One row.
create table telemetry_progress (
    only      integer primary key check (only = 1),
    minutes_s integer not null,
    hours_s   integer not null,
    days_s    integer not null
) strict;

insert into telemetry_progress (only, minutes_s, hours_s, days_s) values (1, 0, 0, 0);

-- What one configuration cost one node, as somebody tells who was there. What taps see is in their own facts.
create table sync_cost (
    id              integer primary key,
    scope_id        integer not null references telemetry_scope (id),
    node_id         integer not null references telemetry_name (id),
    at_ms           integer not null,
    -- The hash or token that was applied.
    config          text    not null check (length(config) between 1 and 128),
    mode            text    not null check (mode in ('full', 'delta', 'fell_back')),
    bytes           integer not null check (bytes >= 0),
    apply_ms        integer check (apply_ms >= 0),
    cpu_ms          integer check (cpu_ms >= 0),
    memory_before   integer check (memory_before >= 0),
    memory_peak     integer check (memory_peak >= 0),
    memory_after    integer check (memory_after >= 0),
    unique (scope_id, node_id, at_ms, config)
) strict;

create index sync_cost_at on sync_cost (at_ms);
