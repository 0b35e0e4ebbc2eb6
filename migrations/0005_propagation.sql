-- How each changeset spread over each cohort, written once when it is final: when all nodes have reached it, or a day
-- after its publication. Reports are dropped after a month; this is what remains of who got what, and how fast.
create table propagation (
    control_plane_id integer not null references control_plane (id),
    -- The ordinals of its first and its last version.
    changeset        integer not null check (changeset > 0),
    last_version     integer not null check (last_version > 0),
    -- The cohort; empty where the part is not known.
    protocol         text    not null check (protocol in ('', 'v1', 'v2')),
    gateway          text    not null,
    published_ms     integer not null,
    final_ms         integer not null check (final_ms >= published_ms),
    nodes            integer not null check (nodes > 0),
    reached          integer not null check (reached between 0 and nodes),
    -- Of those that reached it; absent together where none did.
    p50_ms           integer check (p50_ms >= 0),
    p90_ms           integer check (p90_ms >= p50_ms),
    p99_ms           integer check (p99_ms >= p90_ms),
    max_ms           integer check (max_ms >= p99_ms),
    -- At most 100 points [lag_ms, nodes that reached it by then], and at most 100 names of nodes that did not.
    curve            text    not null check (json_valid(curve)),
    stragglers       text    not null check (json_valid(stragglers)),
    primary key (control_plane_id, changeset, protocol, gateway),
    check ((p50_ms is null) = (max_ms is null)),
    check ((reached = 0) = (max_ms is null))
) strict, without rowid;
