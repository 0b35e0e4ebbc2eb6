-- Reports of nodes, as unbroken runs of equal ones.
--
-- A report that says what the one before it said, not later than the source is allowed to be silent, moves the end of
-- its run. Any change, or a longer gap, closes the run and opens another: inside a run the node was connected.
--
-- The run that is still open has a row of its own per node and source, which is updated in place: the fleet as it is now
-- is one small table, read at a glance when the service starts. A closed run is never touched again (but to count a
-- report that comes late), and lies in the order in which runs were closed.
--
-- Every fact has a number of its own, dense and in the order of arrival: its sequence. A run knows the sequence of its
-- first report and of the one that moved its end last, so both can be told again in their places among all other facts.

create table report_open (
    id                  integer primary key,
    node_id             integer not null references node (id),
    source_id           integer not null references source (id),
    -- What the node ran; null if the reports did not say.
    config_id           integer references config (id),
    attribute_set_id    integer not null references attribute_set (id),
    -- Times of the first and the last report, by our clock, and how much later each was stored.
    from_ms             integer not null,
    until_ms            integer not null,
    from_stored_after   integer not null,
    until_stored_after  integer not null,
    -- How much older the first and the last report may be than they say (a poll).
    from_uncertain_ms   integer not null check (from_uncertain_ms >= 0),
    until_uncertain_ms  integer not null check (until_uncertain_ms >= 0),
    -- The node's clock minus ours, as the last report that spoke of it says. It opens no new run.
    skew_ms             integer,
    reports             integer not null check (reports > 0),
    opened_sequence     integer not null check (opened_sequence > 0),
    touched_sequence    integer not null check (touched_sequence >= opened_sequence),
    unique (node_id, source_id),
    check (until_ms >= from_ms)
) strict;

create index report_open_config on report_open (config_id);
create index report_open_attribute_set on report_open (attribute_set_id);

create table report_closed (
    -- The sequence of the fact that closed the run: one fact closes one run at most.
    id                  integer primary key,
    node_id             integer not null references node (id),
    source_id           integer not null references source (id),
    config_id           integer references config (id),
    attribute_set_id    integer not null references attribute_set (id),
    from_ms             integer not null,
    until_ms            integer not null,
    from_stored_after   integer not null,
    until_stored_after  integer not null,
    from_uncertain_ms   integer not null check (from_uncertain_ms >= 0),
    until_uncertain_ms  integer not null check (until_uncertain_ms >= 0),
    skew_ms             integer,
    reports             integer not null check (reports > 0),
    opened_sequence     integer not null check (opened_sequence > 0),
    touched_sequence    integer not null check (touched_sequence between opened_sequence and id),
    check (until_ms >= from_ms)
) strict;

-- The past of one node; and: which nodes reached a configuration, and when.
create index report_closed_node on report_closed (node_id, from_ms);
create index report_closed_config on report_closed (config_id, from_ms);
create index report_closed_attribute_set on report_closed (attribute_set_id);
